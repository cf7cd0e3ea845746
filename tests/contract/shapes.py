# SPDX-License-Identifier: Apache-2.0
"""Schemas seen as shapes: which types a value may have, which members, and a value that fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import attrs

from tests.contract.operations import Schema

Definitions: TypeAlias = Mapping[str, Schema]
MemberPath: TypeAlias = tuple[str | int, ...]
"""Where a member is: names, and 0 for the items of an array."""

DEEPEST_MEMBER = 4
MAP_KEYS = {
    "mx-user-id": "@someone:example.org",
    "mx-room-id": "!somewhere:example.org",
    "mx-event-id": "$something:example.org",
}
"""A key for maps whose keys have a format; for any other map it is `key`."""

JSON_TYPES: Mapping[str, Any] = {
    "null": None,
    "boolean": True,
    "integer": 1,
    "number": 1.5,
    "string": "text",
    "array": ["text"],
    "object": {"key": "value"},
}
"""A value of each JSON type."""


@attrs.frozen
class Shape:
    """What a schema says, with references followed and combinations merged into what may be."""

    types: frozenset[str] = frozenset()
    """Empty: any."""
    properties: Mapping[str, Schema] = attrs.field(factory=dict)
    required: frozenset[str] = frozenset()
    items: Schema | None = None
    values: Schema | None = None
    """The schema of the values of a map."""
    key_format: str | None = None
    enum: tuple[Any, ...] = ()
    format: str | None = None

    def allows(self, json_type: str) -> bool:
        """Whether a value of the JSON type may stand here; an integer is a number."""
        return (
            not self.types or json_type in self.types or (json_type == "integer" and "number" in self.types)
        )

    def below(self, part: str | int) -> Schema:
        """The schema of one member, or of an array's items."""
        if part == 0:
            return self.items or {}
        return self.properties.get(str(part)) or self.values or {}


def shape_of(schema: Schema, definitions: Definitions) -> Shape:
    """Return the shape of a schema."""
    if "$ref" in schema:
        return shape_of(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    shape = _own_shape(schema)
    for below in schema.get("allOf", ()):
        shape = _both(shape, shape_of(below, definitions))
    for keyword in ("anyOf", "oneOf"):
        alternatives = [shape_of(below, definitions) for below in schema.get(keyword, ())]
        if alternatives:
            shape = _both(shape, _any_of(alternatives))
    return shape


def _own_shape(schema: Schema) -> Shape:
    types = schema.get("type", "object" if "properties" in schema else ())
    patterns = list(schema.get("patternProperties", {}).values())
    values = patterns[0] if patterns else schema.get("additionalProperties")
    return Shape(
        types=frozenset([types] if isinstance(types, str) else types),
        properties=schema.get("properties", {}),
        required=frozenset(schema.get("required", ())),
        items=schema.get("items"),
        values=values if isinstance(values, Mapping) else None,
        key_format=patterns[0].get("x-pattern-format") if patterns else None,
        enum=tuple(schema.get("enum", ())),
        format=schema.get("format"),
    )


def _both(one: Shape, other: Shape) -> Shape:
    return Shape(
        types=one.types & other.types if one.types and other.types else one.types | other.types,
        properties={**one.properties, **other.properties},
        required=one.required | other.required,
        items=one.items or other.items,
        values=one.values or other.values,
        key_format=one.key_format or other.key_format,
        enum=one.enum or other.enum,
        format=one.format or other.format,
    )


def _any_of(alternatives: list[Shape]) -> Shape:
    any_type = any(not shape.types for shape in alternatives)
    joined = attrs.evolve(
        alternatives[0],
        types=frozenset() if any_type else frozenset().union(*(shape.types for shape in alternatives)),
        required=frozenset.intersection(*(shape.required for shape in alternatives)),
        properties={},
    )
    for shape in alternatives:
        joined = attrs.evolve(joined, properties={**shape.properties, **joined.properties})
    return joined


@attrs.frozen
class Samples:
    """Values that fit schemas, made of things that exist on the server under test."""

    definitions: Definitions
    by_format: Mapping[str, str]
    """A string for each format."""

    def sample(self, schema: Schema) -> Any:
        """Return a small value of the right shape: of an object the required members only."""
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                schema = {**schema, "allOf": [*schema.get("allOf", ()), schema[keyword][0]]}
                schema = {key: value for key, value in schema.items() if key != keyword}
        shape = shape_of(schema, self.definitions)
        if shape.enum:
            return shape.enum[0]
        if shape.allows("object") and (shape.types or shape.properties):
            return {name: self.sample(shape.properties.get(name, {})) for name in sorted(shape.required)}
        if shape.allows("string"):
            return self.by_format.get(shape.format or "", "text")
        if "array" in shape.types:
            return []
        return JSON_TYPES[min(shape.types)]

    def with_member(self, schema: Schema, path: MemberPath, value: Any) -> Any:
        """Return a sample of `schema` in which `value` stands at `path`, whether it fits or not."""
        if not path:
            return value
        part, rest = path[0], path[1:]
        below = self.with_member(shape_of(schema, self.definitions).below(part), rest, value)
        if part == 0:
            return [below]
        whole = self.sample(schema)
        return {**(whole if isinstance(whole, dict) else {}), part: below}

    def without_member(self, schema: Schema, path: MemberPath) -> Any:
        """Return a sample of `schema` without the required member at `path`."""
        owner = schema
        for part in path[:-1]:
            owner = shape_of(owner, self.definitions).below(part)
        rest = {name: value for name, value in self.sample(owner).items() if name != path[-1]}
        return self.with_member(schema, path[:-1], rest)

    def members(self, schema: Schema) -> Iterator[tuple[MemberPath, Shape, bool]]:
        """Yield the path, the shape and whether it is required of every member at any depth within bounds."""
        yield from self._members(schema, ())

    def _members(self, schema: Schema, path: MemberPath) -> Iterator[tuple[MemberPath, Shape, bool]]:
        if len(path) == DEEPEST_MEMBER:
            return
        shape = shape_of(schema, self.definitions)
        parts: list[str | int] = sorted(shape.properties)
        if shape.values is not None:
            parts.append(MAP_KEYS.get(shape.key_format or "", "key"))
        if shape.items is not None:
            parts.append(0)
        for part in parts:
            below = shape.below(part)
            yield (*path, part), shape_of(below, self.definitions), part in shape.required
            yield from self._members(below, (*path, part))


def wrong_values(shape: Shape) -> dict[str, Any]:
    """Return values that the shape does not allow, by the name of their JSON type."""
    return {name: value for name, value in JSON_TYPES.items() if not shape.allows(name)}
