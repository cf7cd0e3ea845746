# SPDX-License-Identifier: Apache-2.0
"""Random bodies of the right shape, made from a schema by hypothesis: right types, any values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from hypothesis import strategies as st

from tests.contract.operations import Schema
from tests.contract.shapes import MAP_KEYS, Shape, shape_of

DEEPEST = 5
BOUNDARIES = (0, -1, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64)

TEXTS = st.one_of(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=30),
    st.text(alphabet=st.characters(), max_size=10),
    st.sampled_from(["", "\0", "\ud800", "\u202e", "a" * 300, "@", "!", "$", "#", "m.room.member", "*"]),
)
INTEGERS = st.one_of(st.integers(), st.sampled_from(BOUNDARIES))
NUMBERS = st.one_of(INTEGERS, st.floats(allow_nan=False, allow_infinity=False))
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(TEXTS, below, max_size=3)),
    max_leaves=6,
)


@attrs.frozen
class RandomBodies:
    """Strategies for the values of schemas; identifiers are real ones, nearly real ones or any text."""

    definitions: Mapping[str, Schema]
    by_format: Mapping[str, str]

    def values(self, schema: Schema, depth: int = 0) -> st.SearchStrategy[Any]:
        """Return a strategy for values that the types of a schema allow."""
        shape = shape_of(schema, self.definitions)
        kinds = shape.types or ({"object"} if shape.properties else frozenset())
        if depth == DEEPEST or not kinds:
            return ANYTHING
        return st.one_of([self._of_type(kind, shape, depth) for kind in sorted(kinds)])

    def _of_type(self, kind: str, shape: Shape, depth: int) -> st.SearchStrategy[Any]:
        if kind == "object":
            return self._objects(shape, depth)
        if kind == "array":
            return st.lists(self.values(shape.items or {}, depth + 1), max_size=3)
        if kind == "string":
            return self._strings(shape)
        simple = {"integer": INTEGERS, "number": NUMBERS, "boolean": st.booleans(), "null": st.none()}
        return simple[kind]

    def _strings(self, shape: Shape) -> st.SearchStrategy[str]:
        if shape.enum:
            return st.one_of(st.sampled_from(shape.enum), TEXTS)
        real = self.by_format.get(shape.format or "")
        if real is None:
            return TEXTS
        sigil, rest = real[:1], real[1:]
        nearly = st.builds(lambda text: sigil + text + rest, TEXTS)
        return st.one_of(st.just(real), nearly, TEXTS)

    def _objects(self, shape: Shape, depth: int) -> st.SearchStrategy[dict[str, Any]]:
        required = {name: self.values(shape.below(name), depth + 1) for name in shape.required}
        optional = {
            name: self.values(below, depth + 1)
            for name, below in shape.properties.items()
            if name not in shape.required
        }
        named = st.fixed_dictionaries(required, optional=optional)
        if shape.values is None and shape.properties:
            return named
        keys = st.one_of(st.just(MAP_KEYS.get(shape.key_format or "", "key")), TEXTS)
        more = st.dictionaries(keys, self.values(shape.values or {}, depth + 1), max_size=3)
        return st.builds(lambda entries, members: {**entries, **members}, more, named)
