# SPDX-License-Identifier: Apache-2.0
"""Samples fit their schemas, what is called wrong does not, and random bodies have the right types."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.contract.bad_requests import Known
from tests.contract.operations import specification
from tests.contract.random_bodies import RandomBodies
from tests.contract.schema import Validator, faults
from tests.contract.shapes import Samples, shape_of, wrong_values

EXTRACT = specification()
BY_FORMAT = Known(
    server_name="example.org",
    user_id="@alice:example.org",
    device_id="DEVICE",
    room_id="!room:example.org",
    room_alias="#room:example.org",
    event_id="$event:example.org",
    expired_token="expired",
).by_format
SAMPLES = Samples(definitions=EXTRACT.definitions, by_format=BY_FORMAT)
WITH_BODY = {
    name: operation.body
    for name, operation in EXTRACT.operations.items()
    if operation.body is not None and operation.api == "client-server"
}
OWN_RULES = {
    # The one member has the name that stands in the path.
    "PUT /_matrix/client/v3/profile/{userId}/{keyName}",
}
TWO_FORMS = {
    # A member of one form means nothing in the other.
    "POST /_matrix/client/v3/rooms/{roomId}/invite",
}


@pytest.mark.parametrize("name", sorted(WITH_BODY.keys() - OWN_RULES))
def test_a_sample_of_every_body_fits(name: str) -> None:
    assert faults(SAMPLES.sample(WITH_BODY[name]), WITH_BODY[name], EXTRACT.definitions) == []


@pytest.mark.parametrize("name", sorted(WITH_BODY.keys() - OWN_RULES - TWO_FORMS))
def test_what_is_wrong_with_a_member_is_all_that_is_wrong(name: str) -> None:
    for path, shape, required in SAMPLES.members(WITH_BODY[name]):
        for value in wrong_values(shape).values():
            body = SAMPLES.with_member(WITH_BODY[name], path, value)
            assert faults(body, WITH_BODY[name], EXTRACT.definitions), (path, value)
        if required:
            without = SAMPLES.without_member(WITH_BODY[name], path)
            told = faults(without, WITH_BODY[name], EXTRACT.definitions)
            assert any(f"'{path[-1]}' is a required property" in text for text in told), path


SCHEMAS: list[tuple[dict[str, Any], Any]] = [
    ({"type": "string"}, "text"),
    ({"type": "string", "format": "mx-user-id"}, "@alice:example.org"),
    ({"type": "string", "enum": ["b", "a"]}, "b"),
    ({"type": "integer"}, 1),
    ({"type": "array", "items": {"type": "string"}}, []),
    ({"type": "object", "properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]}, {"a": "text"}),
    ({"allOf": [{"required": ["a"]}, {"properties": {"a": {"type": "integer"}}}]}, {"a": 1}),
    ({"anyOf": [{"type": "object", "required": ["b"]}, {"type": "object"}]}, {"b": "text"}),
]


@pytest.mark.parametrize(("schema", "sample"), SCHEMAS)
def test_samples(schema: dict[str, Any], sample: Any) -> None:
    assert Samples(definitions={}, by_format=BY_FORMAT).sample(schema) == sample


def test_members_at_every_depth() -> None:
    schema = {
        "type": "object",
        "required": ["a"],
        "properties": {
            "a": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "string"}}}},
            "c": {"type": "object", "additionalProperties": {"$ref": "#/definitions/d"}},
        },
    }
    samples = Samples(definitions={"d": {"type": "boolean"}}, by_format={})
    found = [(path, sorted(shape.types), required) for path, shape, required in samples.members(schema)]
    assert found == [
        (("a",), ["array"], True),
        (("a", 0), ["object"], False),
        (("a", 0, "b"), ["string"], False),
        (("c",), ["object"], False),
        (("c", "key"), ["boolean"], False),
    ]
    assert samples.with_member(schema, ("a", 0, "b"), 5) == {"a": [{"b": 5}]}
    assert samples.with_member(schema, ("c", "key"), None) == {"a": [], "c": {"key": None}}
    assert samples.without_member(schema, ("a",)) == {}


def test_a_schema_that_contains_itself_has_members_within_bounds() -> None:
    tree = {"type": "object", "properties": {"child": {"$ref": "#/definitions/tree"}}}
    samples = Samples(definitions={"tree": tree}, by_format={})
    assert max(len(path) for path, _, _ in samples.members(tree)) == 4


def test_wrong_values() -> None:
    assert set(wrong_values(shape_of({"type": "number"}, {}))) == {
        *("null", "boolean", "string", "array", "object"),
    }
    assert "number" in wrong_values(shape_of({"type": "integer"}, {}))
    assert wrong_values(shape_of({}, {})) == {}
    either = {"oneOf": [{"type": "string"}, {"type": "object"}]}
    assert set(wrong_values(shape_of(either, {}))) == {"null", "boolean", "integer", "number", "array"}


def _without(schema: Any, keywords: frozenset[str]) -> Any:
    """The schema without what random bodies need not keep to."""
    if isinstance(schema, dict):
        return {key: _without(value, keywords) for key, value in schema.items() if key not in keywords}
    return [_without(value, keywords) for value in schema] if isinstance(schema, list) else schema


TYPED = [
    "POST /_matrix/client/v3/createRoom",
    "POST /_matrix/client/v3/login",
    "POST /_matrix/client/v3/join/{roomIdOrAlias}",
    "PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}",
]


@pytest.mark.parametrize("name", TYPED)
def test_random_bodies_have_the_right_types(name: str) -> None:
    loose = frozenset({"enum", "format", "pattern", "x-pattern-format"})
    definitions = _without(EXTRACT.definitions, loose)
    schema = {**_without(WITH_BODY[name], loose), "definitions": definitions}
    bodies = RandomBodies(definitions=EXTRACT.definitions, by_format=BY_FORMAT)

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(bodies.values(WITH_BODY[name]))
    def holds(body: Any) -> None:
        assert [error.message for error in Validator(schema).iter_errors(body)] == []

    holds()
