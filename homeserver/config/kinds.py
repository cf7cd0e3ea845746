# SPDX-License-Identifier: Apache-2.0
"""Kinds of plain values: each reads a YAML value into a Python one or says what it expected."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol, TypeVar

import attrs

from homeserver.config.place import Place

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LARGEST_INTEGER = 2**53 - 1


class Kind(Protocol[T_co]):
    """A kind of value."""

    @property
    def expected(self) -> str:
        """What a value must be, for people: `a whole number of at least 1`."""

    def read(self, value: object, at: Place) -> T_co:
        """The value of the configuration for this YAML value.

        Raises:
            ConfigError: the value is not of this kind.
        """


def is_clean(text: str) -> bool:
    """Whether `text` can be written as UTF-8 and handed to the operating system."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


@attrs.frozen
class Boolean:
    """`true` or `false`."""

    expected: str = attrs.field(default="true or false", init=False)

    def read(self, value: object, at: Place) -> bool:
        if not isinstance(value, bool):
            raise at.wrong(value, self.expected)
        return value


@attrs.frozen
class Integer:
    """A whole number within bounds."""

    minimum: int = 0
    maximum: int = LARGEST_INTEGER

    @property
    def expected(self) -> str:
        if self.maximum == LARGEST_INTEGER:
            return f"a whole number of at least {self.minimum}"
        return f"a whole number from {self.minimum} to {self.maximum}"

    def read(self, value: object, at: Place) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not self.minimum <= value <= self.maximum:
            raise at.wrong(value, self.expected)
        return value


@attrs.frozen
class Number:
    """A number of at least `minimum`, whole or not."""

    minimum: float = 0
    expected: str = attrs.field(init=False)

    @expected.default
    def _expected(self) -> str:
        return f"a number of at least {self.minimum:g}"

    def read(self, value: object, at: Place) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise at.wrong(value, self.expected)
        if not self.minimum <= value <= LARGEST_INTEGER or not math.isfinite(value):
            raise at.wrong(value, self.expected)
        return float(value)


@attrs.frozen
class Text:
    """A text that is not empty. A number in its place is an error that says to quote it."""

    expected: str = "a text"

    def read(self, value: object, at: Place) -> str:
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise at.wrong(value, f"{self.expected} (put it in quotes)")
        if not isinstance(value, str) or not value or not is_clean(value):
            raise at.wrong(value, self.expected)
        return value


@attrs.frozen
class PathName:
    """A path of the file system; a relative one starts from the directory of the configuration file."""

    expected: str = attrs.field(default="a path", init=False)

    def read(self, value: object, at: Place) -> Path:
        if not isinstance(value, str) or not value or not is_clean(value):
            raise at.wrong(value, self.expected)
        return at.base / value


@attrs.frozen
class OneOf:
    """One of a few values, compared with their type (`1` is not `true`)."""

    values: tuple[Any, ...]

    @property
    def expected(self) -> str:
        names = ["true" if v is True else "false" if v is False else str(v) for v in self.values]
        return f"{', '.join(names[:-1])} or {names[-1]}"

    def read(self, value: object, at: Place) -> Any:
        for allowed in self.values:
            if type(allowed) is type(value) and allowed == value:
                return allowed
        raise at.wrong(value, self.expected)
