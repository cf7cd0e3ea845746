# SPDX-License-Identifier: Apache-2.0
"""Kinds of values that hold others: lists, and mappings whose keys the operator chooses."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

import attrs

from homeserver.config.kinds import Kind
from homeserver.config.place import Place

T = TypeVar("T")


@attrs.frozen
class ListOf(Generic[T]):
    """A list of values of one kind, read into a tuple."""

    items: Kind[T]
    minimum: int = 0

    @property
    def expected(self) -> str:
        """A list, and what its items are."""
        return f"a list{' that is not empty' if self.minimum else ''}, each item {self.items.expected}"

    def read(self, value: object, at: Place) -> tuple[T, ...]:
        if not isinstance(value, list) or len(value) < self.minimum:
            raise at.wrong(value, self.expected)
        return tuple(self.items.read(item, at.item(index)) for index, item in enumerate(value))


@attrs.frozen
class MapOf(Generic[T]):
    """A mapping from names that the operator chooses to values of one kind."""

    names: Kind[str]
    values: Kind[T]

    @property
    def expected(self) -> str:
        """A mapping, and what its keys and values are."""
        return f"a mapping from {self.names.expected} to {self.values.expected}"

    def read(self, value: object, at: Place) -> Mapping[str, T]:
        if not isinstance(value, dict):
            raise at.wrong(value, self.expected)
        return MappingProxyType(
            {
                self.names.read(name, at.child(name)): self.values.read(item, at.child(name))
                for name, item in value.items()
            }
        )
