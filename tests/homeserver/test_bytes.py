# SPDX-License-Identifier: Apache-2.0
"""What clients send is kept to the byte or refused: nothing is cut, folded or taken for something else."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from federation.rules.canonical_json import decode_json, encode_canonical
from federation.rules.hashing import event_id
from federation.rules.room_versions import ROOM_VERSIONS
from storage.engine.database import Database
from tests.support.app_server import app_server
from tests.support.reactor import in_reactor
from tests.support.room_server import ok


def nested(depth: int) -> Any:
    """A value of so many nested lists."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


KEPT: dict[str, Any] = {
    "a NUL in a text": {"body": "before\0after"},
    "a NUL in a key": {"m.room.power_levels\0": {"users\0": {"@alice:a.example": 100}}},
    "control characters": {"body": "".join(map(chr, range(32))) + "\x7f\x80\x9f"},
    "separators and noncharacters": {"body": "\u2028\u2029\ufeff\ufffe\uffff\U0010ffff"},
    "the largest integers": {"high": 2**53 - 1, "low": -(2**53) + 1},
    "much nesting": {"deep": nested(200)},
    "quotes and backslashes": {"body": "\\u0000 \\\\ \" ' % ? $1 :x"},
    "keys beyond the basic plane": {"\U0001f600": 1, "\uffee": 2, "e": 3, "é": 4, "": 5},
    "what JSON knows": {"n": None, "t": True, "f": False, "list": [], "object": {}},
}

REFUSED = {
    "a lone surrogate": (b'{"body":"\\ud800"}', "M_NOT_JSON"),
    "a lone surrogate in a key": (b'{"\\udfff":1}', "M_NOT_JSON"),
    "bytes that are no UTF-8": (b'{"body":"\xff\xfe"}', "M_NOT_JSON"),
    "an integer beyond 2^53": (b'{"n":9007199254740992}', "M_BAD_JSON"),
    "2^63": (b'{"n":9223372036854775808}', "M_BAD_JSON"),
    "a hundred digits": (b'{"n":' + b"9" * 100 + b"}", "M_BAD_JSON"),
    "a float": (b'{"n":1.5}', "M_BAD_JSON"),
    "a float that is whole": (b'{"n":1.0}', "M_BAD_JSON"),
    "not a number": (b'{"n":NaN}', "M_NOT_JSON"),
    "300 levels": (b'{"n":' + b"[" * 300 + b"]" * 300 + b"}", None),
    "100,000 levels": (b'{"n":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
}


def test_contents_come_back_to_the_byte_also_after_a_restart(database: Database) -> None:
    sent = {}
    with app_server(database) as server:
        room_id = server.alice.create_room(preset="public_chat")
        for i, (name, content) in enumerate(KEPT.items()):
            path = f"/rooms/{quote(room_id)}/send/org.example.bytes/{i}"
            sent[name] = ok(server.alice.put(path, content))["event_id"]
        sent["state"] = ok(
            server.alice.put(
                f"/rooms/{quote(room_id)}/state/org.example.bytes/{quote('ä/ %?#', safe='')}",
                KEPT["a NUL in a key"],
            )
        )["event_id"]
    with app_server(database) as server:
        for name, sent_id in sent.items():
            content = KEPT.get(name, KEPT["a NUL in a key"])
            assert ok(server.alice.room(room_id, f"/event/{quote(sent_id)}"))["content"] == content
        stored = in_reactor(server.storage.events.by_id(sent.values()))
        for event in (stored[sent_id].event for sent_id in sent.values()):
            pdu = _pdu(event.json)
            assert encode_canonical(pdu) == event.json
            assert event_id(pdu, ROOM_VERSIONS["12"]) == event.event_id
        levels = ok(server.alice.room(room_id, "/state/m.room.power_levels"))
        assert "users\0" not in str(levels)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_is_refused(database: Database, name: str) -> None:
    body, errcode = REFUSED[name]
    with app_server(database) as server:
        room_id = server.alice.create_room()
        before = server.alice.page(room_id)["chunk"]
        for path in ("send/org.example.bytes/1", "state/org.example.bytes/key"):
            answer = server.alice.client.request(
                "PUT", f"/_matrix/client/v3/rooms/{quote(room_id)}/{path}", body=body
            )
            assert answer.status == 400
            assert answer.errcode in ((errcode,) if errcode else ("M_BAD_JSON", "M_NOT_JSON"))
        assert [e["event_id"] for e in server.alice.page(room_id)["chunk"]] == [e["event_id"] for e in before]


@pytest.mark.parametrize(
    "path",
    [
        "send/m.room.power_levels%00/1",
        "send/org.example.bytes/1%00",
        "state/m.room.power_levels%00/",
        "state/m.room.power_levels%00x",
        "state/m.room.member/@alice:a.example%00",
        "state/m.room.member/%00",
    ],
)
def test_identifiers_with_a_nul_are_refused(database: Database, path: str) -> None:
    with app_server(database) as server:
        room_id = server.alice.create_room()
        levels = ok(server.alice.room(room_id, "/state/m.room.power_levels"))
        answer = server.alice.put(f"/rooms/{quote(room_id)}/{path}", {"users": {"@bob:a.example": 100}})
        assert answer.status == 400
        assert answer.errcode == "M_INVALID_PARAM"
        assert ok(server.alice.room(room_id, "/state/m.room.power_levels")) == levels


def test_a_nul_in_the_type_of_an_initial_state_event_is_refused(database: Database) -> None:
    event = {"type": "m.room.power_levels\0", "state_key": "", "content": {"users": {"@bob:a.example": 100}}}
    with app_server(database) as server:
        answer = server.alice.post("/createRoom", {"initial_state": [event]})
        assert answer.status == 400
        assert answer.errcode == "M_BAD_JSON"


def _pdu(json: bytes) -> dict[str, Any]:
    pdu = decode_json(json)
    assert isinstance(pdu, dict)
    return pdu
