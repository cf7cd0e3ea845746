# SPDX-License-Identifier: Apache-2.0
"""How a record declares its keys, and how it is read from a mapping.

A section is a frozen attrs record. Each field is declared by `key` (it has a default), `nullable` (it has
one that null turns off), `optional` (absent is None) or `required`, with its kind and its documentation;
nothing about a key is said anywhere else. `read_record` reads a mapping that holds the record's keys alone;
`read_keys` picks the record's keys out of a larger one.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

import attrs

from homeserver.config.kinds import Kind
from homeserver.config.place import Place
from homeserver.config.unknown import note_unknown

R = TypeVar("R", bound=attrs.AttrsInstance)
T = TypeVar("T")

METADATA = "key"


@attrs.frozen
class Key:
    """What a record says about one of its keys.

    `default` and `example` are YAML values. Where `nullable`, a key that is there without a value is None,
    and not the default.
    """

    kind: Kind[Any]
    doc: str
    default: Any = None
    example: Any = None
    is_required: bool = False
    nullable: bool = False
    secret: bool = False
    name: str = ""


@runtime_checkable
class Checked(Protocol):
    """A record whose keys have to fit each other."""

    def check(self, at: Place) -> None:
        """Raise `ConfigError` where two keys contradict each other."""


def key(kind: Kind[T], doc: str, *, default: Any, example: Any = None, secret: bool = False) -> T:
    """A key with a `default`, which is given as it would stand in the YAML file."""
    nowhere = Place.top(Path())
    value = kind.read(default, nowhere)
    declared = Key(kind, inspect.cleandoc(doc), default=default, example=example, secret=secret)
    field: T = attrs.field(default=value, repr=not secret, metadata={METADATA: declared})
    return field


def optional(kind: Kind[T], doc: str, *, example: Any, secret: bool = False) -> T | None:
    """A key that is None where the configuration does not have it."""
    declared = Key(kind, inspect.cleandoc(doc), example=example, secret=secret)
    return cast("T | None", attrs.field(default=None, repr=not secret, metadata={METADATA: declared}))


def nullable(kind: Kind[T], doc: str, *, default: Any) -> T | None:
    """A key with a `default` that null turns off: it is None then."""
    declared = Key(kind, inspect.cleandoc(doc), default=default, nullable=True)
    return cast(
        "T | None", attrs.field(default=kind.read(default, Place.top(Path())), metadata={METADATA: declared})
    )


def required(kind: Kind[T], doc: str, *, example: Any, secret: bool = False) -> T:
    """A key that the configuration must have."""
    declared = Key(kind, inspect.cleandoc(doc), example=example, secret=secret, is_required=True)
    return cast(T, attrs.field(repr=not secret, metadata={METADATA: declared}))


def keys_of(record: type[attrs.AttrsInstance]) -> Iterator[Key]:
    """The keys that `record` declares, in order."""
    for field in attrs.fields(record):
        if METADATA in field.metadata:
            yield attrs.evolve(field.metadata[METADATA], name=field.name)


def read_keys(record: type[R], mapping: dict[str, object], at: Place) -> R:
    """Read the keys of `record` out of `mapping`; others are left alone. A key without value counts as
    absent.

    Raises:
        ConfigError: a value is wrong or a required key is missing.
    """
    values: dict[str, Any] = {}
    for declared in keys_of(record):
        place = at.child(declared.name, secret=declared.secret)
        given = mapping.get(declared.name)
        if given is not None:
            values[declared.name] = declared.kind.read(given, place)
        elif declared.nullable and declared.name in mapping:
            values[declared.name] = None
        elif declared.default is not None:
            values[declared.name] = declared.kind.read(declared.default, place)
        elif declared.is_required:
            raise place.error(f"is missing, expected {declared.kind.expected}")
    result = record(**values)
    if isinstance(result, Checked):
        result.check(at)
    return result


def read_record(record: type[R], value: object, at: Place) -> R:
    """Read a mapping that holds the keys of `record` and no others; unknown ones are noted.

    Raises:
        ConfigError: the value is no mapping, a value in it is wrong or a required key is missing.
    """
    if not isinstance(value, dict):
        raise at.wrong(value, "a mapping with keys of its own")
    note_unknown(value, [declared.name for declared in keys_of(record)], at)
    return read_keys(record, value, at)


@attrs.frozen
class RecordOf(Generic[R]):
    """A mapping with the keys of a record."""

    record: type[R]
    expected: str = attrs.field(default="a mapping with keys of its own", init=False)

    def read(self, value: object, at: Place) -> R:
        return read_record(self.record, value, at)
