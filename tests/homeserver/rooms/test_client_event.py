# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.rules.room_versions import ROOM_VERSIONS
from homeserver.rooms.client_event import client_event, stripped
from storage.event import Event

V11 = ROOM_VERSIONS["11"]
V12 = ROOM_VERSIONS["12"]
OLDER = attrs.evolve(V11, identifier="10", redacts_in_content=False)

PDU = {
    "auth_events": ["$auth"],
    "content": {"body": "hello"},
    "depth": 7,
    "hashes": {"sha256": "x"},
    "origin_server_ts": 1_632_489_532_305,
    "prev_events": ["$before"],
    "room_id": "!room:example.org",
    "sender": "@alice:example.org",
    "signatures": {"example.org": {"ed25519:1": "x"}},
    "type": "m.room.message",
    "unsigned": {"age_ts": 5, "of": "its origin"},
    "of.tomorrow": 1,
}


def make_event(room_id: str = "!room:example.org", /, **members: Any) -> Event:
    return Event.decode(json.dumps(PDU | members).encode(), event_id="$event", room_id=room_id)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    event_type=texts,
    sender=texts,
    state_key=st.none() | texts,
    room_id=texts,
    content=objects,
    unsigned=objects,
    encoded=st.booleans(),
    with_room_id=st.booleans(),
)
def test_renders_exactly_the_members_of_the_client_form(
    event_type: str,
    sender: str,
    state_key: str | None,
    room_id: str,
    content: dict[str, Any],
    unsigned: dict[str, Any],
    encoded: bool,
    with_room_id: bool,
) -> None:
    members = {"type": event_type, "sender": sender, "content": content}
    if state_key is not None:
        members["state_key"] = state_key
    event = make_event(room_id, **members)
    expected = members | {"event_id": "$event", "origin_server_ts": PDU["origin_server_ts"]}
    if with_room_id:
        expected["room_id"] = room_id
    if unsigned:
        expected["unsigned"] = unsigned
    given_unsigned = json.dumps(unsigned).encode() if encoded and unsigned else unsigned

    found = client_event(event, V11)

    assert json.loads(found.render(given_unsigned, with_room_id=with_room_id)) == expected
    assert found.as_dict(given_unsigned, with_room_id=with_room_id) == expected


def test_content_is_kept_to_the_byte() -> None:
    content = b'{ "b": 1.50e1, "a": "\\u00e9\\/", "n": 123456789012345678901234567890 }'
    text = json.dumps(PDU | {"content": "here"}).encode().replace(b'"here"', content)

    rendered = client_event(Event.decode(text, "$event", "!room:example.org"), V11).render(with_room_id=False)

    assert content in rendered


def test_encoded_parts_of_unsigned_are_spliced_in() -> None:
    redaction = b'{ "type": "m.room.redaction" }'

    rendered = client_event(make_event(), V11).render(
        {"age": 5, "redacted_because": msgspec.Raw(redaction)}, with_room_id=True
    )

    assert rendered.endswith(b',"unsigned":{"age":5,"redacted_because":' + redaction + b"}}")
    assert json.loads(rendered)["room_id"] == "!room:example.org"


def test_a_create_event_without_room_id_has_one_for_clients() -> None:
    pdu = {k: v for k, v in PDU.items() if k != "room_id"} | {"type": "m.room.create", "state_key": ""}
    create = Event.decode(json.dumps(pdu).encode(), event_id="$hash", room_id="!hash")

    assert client_event(create, V12).as_dict(with_room_id=True) == {
        "type": "m.room.create",
        "state_key": "",
        "sender": "@alice:example.org",
        "content": {"body": "hello"},
        "event_id": "$hash",
        "origin_server_ts": PDU["origin_server_ts"],
        "room_id": "!hash",
    }


@pytest.mark.parametrize(
    ("version", "members", "top_level", "content"),
    [
        (V11, {"content": {"redacts": "$a", "reason": "x"}}, "$a", {"redacts": "$a", "reason": "x"}),
        (V11, {"content": {"redacts": "$a"}, "redacts": "$b"}, "$a", {"redacts": "$a"}),
        (V11, {"content": {}, "redacts": "$b"}, None, {}),
        (V11, {"content": {"redacts": 5}}, None, {"redacts": 5}),
        (OLDER, {"content": {"reason": "x"}, "redacts": "$b"}, "$b", {"reason": "x", "redacts": "$b"}),
        (OLDER, {"content": {}, "redacts": "$b"}, "$b", {"redacts": "$b"}),
        (OLDER, {"content": {"redacts": "$b"}, "redacts": "$b"}, "$b", {"redacts": "$b"}),
        (OLDER, {"content": {"redacts": "$a"}, "redacts": "$b"}, "$b", {"redacts": "$b"}),
        (OLDER, {"content": {"redacts": "$a"}}, None, {"redacts": "$a"}),
        (OLDER, {"content": {}, "redacts": 5}, None, {}),
        (V11, {"type": "m.room.message", "content": {"redacts": "$a"}}, None, {"redacts": "$a"}),
        (OLDER, {"type": "m.room.message", "content": {}, "redacts": "$a"}, None, {}),
    ],
)
def test_redactions_name_their_target_in_both_places(
    version: Any, members: dict[str, Any], top_level: str | None, content: dict[str, Any]
) -> None:
    found = client_event(make_event(**{"type": "m.room.redaction", **members}), version).as_dict(
        with_room_id=False
    )

    assert found.get("redacts") == top_level
    assert found["content"] == content


def test_stripped_state() -> None:
    assert stripped(make_event(type="m.room.name", state_key="", content={"name": "A room"})) == {
        "type": "m.room.name",
        "state_key": "",
        "sender": "@alice:example.org",
        "content": {"name": "A room"},
    }
    with pytest.raises(ValueError, match="no state event"):
        stripped(make_event())
