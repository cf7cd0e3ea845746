# SPDX-License-Identifier: Apache-2.0
"""The validation of responses: what it lets through, what it finds, and how it says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.extract import APIS
from tests.contract.formats import STRING_FORMATS
from tests.contract.operations import specification
from tests.contract.schema import FORMATS, Contract, ContractError, Validator, faults

CONTRACT = Contract(extract=specification())
EVENT_ID = "$" + "a" * 43
ROOM_ID = "!" + "r" * 43


def check(name: str, value: Any, status: int = 200, content_type: str = "application/json") -> Any:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return CONTRACT.check(CONTRACT.extract.operations[name], status, content_type, body)


SEND = "PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}"
SYNC = "GET /_matrix/client/v3/sync"
JOINED_MEMBERS = "GET /_matrix/client/v3/rooms/{roomId}/joined_members"
WHOAMI = "GET /_matrix/client/v3/account/whoami"
REGISTER = "POST /_matrix/client/v3/register"
MESSAGES = "GET /_matrix/client/v3/rooms/{roomId}/messages"


def event(**changes: Any) -> dict[str, Any]:
    return {
        "content": {"body": "hello", "msgtype": "m.text"},
        "event_id": EVENT_ID,
        "origin_server_ts": 1_700_000_000_000,
        "room_id": ROOM_ID,
        "sender": "@alice:example.org",
        "type": "m.room.message",
        **changes,
    }


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        (SEND, {"event_id": EVENT_ID}, 200),
        (SEND, {"event_id": EVENT_ID, "org.example.more": 1}, 200),
        (SYNC, {"next_batch": "s1"}, 200),
        (SYNC, {"next_batch": "s1", "rooms": {"join": {ROOM_ID: {"timeline": {"events": []}}}}}, 200),
        (JOINED_MEMBERS, {"joined": {"@alice:example.org": {"display_name": "Alice"}}}, 200),
        (MESSAGES, {"chunk": [event()], "start": "t1"}, 200),
        (WHOAMI, {"errcode": "M_UNKNOWN_TOKEN", "error": "no", "soft_logout": True}, 401),
        (WHOAMI, {"errcode": "ORG.EXAMPLE_CODE", "error": "no"}, 418),
        (REGISTER, {"flows": [{"stages": ["m.login.dummy"]}], "session": "x"}, 401),
        (REGISTER, {"errcode": "M_FORBIDDEN", "error": "no"}, 401),
    ],
)
def test_right_responses_pass(name: str, value: Any, status: int) -> None:
    assert check(name, value, status) == value


@pytest.mark.parametrize(
    ("name", "value", "status", "told"),
    [
        (SEND, {}, 200, "'event_id' is a required property"),
        (SEND, {"event_id": 5}, 200, "$.event_id: 5 is not of type 'string'"),
        (SEND, {"event_id": "$short"}, 200, "$.event_id: '$short' is not a 'mx-event-id'"),
        (SEND, [], 200, "$: [] is not of type 'object'"),
        (SEND, {"event_id": EVENT_ID}, 201, "has only [200, 400]"),
        (SYNC, {"next_batch": "s1", "rooms": {"join": {"#a:b": {}}}}, 200, "'#a:b' is no mx-room-id"),
        (SYNC, {"next_batch": "s1", "rooms": {"join": {"!a": {}}}}, 200, "'!a' is no mx-room-id"),
        (JOINED_MEMBERS, {"joined": {"@a:b.c": {"display_name": 1}}}, 200, "$.joined['@a:b.c'].display_name"),
        (MESSAGES, {"chunk": [event(origin_server_ts=1.0)], "start": "t1"}, 200, "1.0 is not of type"),
        (MESSAGES, {"chunk": [event(origin_server_ts=2**63)], "start": "t1"}, 200, "is not a 'int64'"),
        (MESSAGES, {"chunk": [event(), event(sender="alice")], "start": "t1"}, 200, "$.chunk[1].sender"),
        (WHOAMI, {"errcode": "M_UNKNOWN_TOKEN"}, 401, "$.error: an error has a string here, not None"),
        (WHOAMI, {"error": "no"}, 404, "$.errcode: an error has a string here, not None"),
        (WHOAMI, {"errcode": "M_NO_SUCH", "error": "no"}, 400, "the specification has no M_NO_SUCH"),
        (WHOAMI, ["no"], 400, "an error is an object"),
        (REGISTER, {"flows": [{}]}, 401, "$.flows[0]: 'stages' is a required property"),
        (REGISTER, {"session": "x"}, 401, "$.errcode"),
    ],
)
def test_wrong_responses_are_told_with_operation_and_path(
    name: str, value: Any, status: int, told: str
) -> None:
    with pytest.raises(ContractError) as raised:
        check(name, value, status)
    assert str(raised.value).startswith(f"{name} answered {status}, not as specified:")
    assert told in str(raised.value)


@pytest.mark.parametrize("body", [b"", b"{", b'{"next_batch": NaN}', b'{"next_batch": "\xff"}', b"<html>"])
def test_what_is_no_json_is_told(body: bytes) -> None:
    with pytest.raises(ContractError, match="no JSON"):
        check(SYNC, body)


def test_another_media_type_is_told() -> None:
    with pytest.raises(ContractError, match="media type 'text/html', not"):
        check(SEND, {"event_id": EVENT_ID}, content_type="text/html")
    assert check(SEND, {"event_id": EVENT_ID}, content_type="Application/JSON; charset=utf-8")


def test_many_faults_are_cut_short() -> None:
    with pytest.raises(ContractError) as raised:
        check(MESSAGES, {"chunk": [event(sender=5) for _ in range(40)], "start": "t1"})
    assert "more" in str(raised.value)
    assert len(str(raised.value)) < 4000


def test_every_schema_of_the_extract_is_a_schema() -> None:
    extract = specification()
    for operation in extract.operations.values():
        schemas = [*operation.body_content.values(), *(p.schema for p in operation.parameters)]
        schemas += [schema for r in operation.responses.values() for schema in r.content.values()]
        for schema in schemas:
            Validator.check_schema(schema)
            faults({}, schema, extract.definitions)
    assert {operation.api for operation in extract.operations.values()} == set(APIS)


def test_every_format_of_the_extract_is_checked() -> None:
    extract = specification()
    used = _formats(extract.definitions)
    for operation in extract.operations.values():
        used |= _formats([p.schema for p in operation.parameters])
        used |= _formats(list(operation.body_content.values()))
        used |= _formats([list(r.content.values()) for r in operation.responses.values()])
    assert used - {*FORMATS.checkers, "float"} == set()
    assert set(STRING_FORMATS) <= set(FORMATS.checkers)


def _formats(node: Any) -> set[str]:
    if isinstance(node, dict):
        here = {node[key] for key in ("format", "x-pattern-format") if isinstance(node.get(key), str)}
        return here.union(*map(_formats, node.values()))
    return set().union(*map(_formats, node)) if isinstance(node, list) else set()
