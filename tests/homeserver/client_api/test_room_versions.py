# SPDX-License-Identifier: Apache-2.0
"""A room of every version, over HTTP: what is built is what other servers would accept."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import attrs
import pytest

from federation.rules.auth.rules import check_auth
from federation.rules.auth.selection import check_auth_events
from federation.rules.auth.state import AuthStateOf
from federation.rules.base64 import encode_base64
from federation.rules.canonical_json import decode_json
from federation.rules.event_format import is_event_id
from federation.rules.hashing import reference_hash
from federation.rules.receipt import receive_pdu
from federation.rules.room_versions import ROOM_VERSIONS
from federation.signing_key import load_signing_keys
from storage.engine.database import Database
from storage.event import Event
from tests.support.app_server import app_server
from tests.support.room_server import RoomServer, ok, refused, room_server


@pytest.fixture
def server(database: Database) -> Iterator[RoomServer]:
    with room_server(database) as running:
        yield running


def lively_room(server: RoomServer, name: str) -> str:
    """A room in which something of most kinds has happened."""
    room_id = server.alice.create_room(
        room_version=name, preset="public_chat", name="We", invite=["@carol:a.example"]
    )
    ok(server.bob.membership("join", room_id))
    message = ok(server.bob.send(room_id, "t1"))["event_id"]
    other = ok(server.bob.send(room_id, "t2", "again"))["event_id"]
    ok(server.bob.redact(room_id, message, "t3", reason="a slip"))
    ok(server.alice.redact(room_id, other, "t4"))
    ok(server.alice.set_state(room_id, "m.room.topic", {"topic": "rooms"}))
    ok(server.alice.membership("kick", room_id, user_id="@bob:a.example"))
    ok(server.bob.membership("join", room_id))
    return room_id


@pytest.mark.parametrize("name", ROOM_VERSIONS)
def test_what_is_built_is_what_others_accept(server: RoomServer, name: str) -> None:
    version = ROOM_VERSIONS[name]
    key, *_ = load_signing_keys(server.parts.ground.config.signing_key_path)
    keys_of = {"a.example": {key.key_id: key.verify_key}}
    room_id = lively_room(server, name)
    events = [stored.event for stored in server.events(room_id)]
    known: dict[str, Event] = {}
    digests: dict[str, bytes] = {}
    for event in events:
        pdu = decode_json(event.json)
        received = receive_pdu(pdu, version, keys_of)
        assert attrs.asdict(received, recurse=False) == attrs.asdict(event, recurse=False)
        assert is_event_id(event.event_id, version)
        cited = [known[event_id] for event_id in event.auth_events]
        check_auth_events(event, cited, frozenset(), version)
        implied = [events[0]] if version.room_id_is_create_hash else []
        check_auth(event, AuthStateOf.from_events([*implied, *cited]), version)
        if version.references_have_hashes:
            for event_id, hashes in pdu["prev_events"] + pdu["auth_events"]:
                assert hashes == {"sha256": encode_base64(digests[event_id])}
        known[event.event_id] = event
        digests[event.event_id] = reference_hash(pdu, version)


@pytest.mark.parametrize("name", ["1", "3", "10", "12"])
def test_clients_see_what_is_redacted(database: Database, name: str) -> None:
    with app_server(database) as server:
        room_id = server.shared_room(room_version=name)
        [own, other] = server.bob.say(room_id, "own", "other")
        redactions = {
            own: ok(server.bob.redact(room_id, own, "t1"))["event_id"],
            other: ok(server.alice.redact(room_id, other, "t2"))["event_id"],
        }
        for target, redaction in redactions.items():
            shown = ok(server.carol.room(room_id, f"/event/{quote(redaction, safe='')}"))
            assert shown["redacts"] == shown["content"]["redacts"] == target
            event = ok(server.carol.room(room_id, f"/event/{quote(target, safe='')}"))
            assert (event["event_id"], event["content"]) == (target, {})
            assert event["unsigned"]["redacted_because"]["event_id"] == redaction
        ids = {event["event_id"] for event in server.carol.page(room_id, "dir=b&limit=50")["chunk"]}
        assert {own, other, *redactions.values()} <= ids


@pytest.mark.parametrize("name", ["1", "3"])
def test_only_moderators_redact_what_others_sent(database: Database, name: str) -> None:
    """Events of one server may be redacted by all of its users, as far as the authorisation rules go."""
    with app_server(database) as server:
        room_id = server.shared_room(room_version=name)
        [target] = server.bob.say(room_id, "mine")
        assert refused(server.carol.redact(room_id, target, "t1")) == (403, "M_FORBIDDEN")
        ok(server.alice.redact(room_id, target, "t2"))


@pytest.mark.parametrize("name", ["1", "10", "11"])
def test_the_creator_is_named_where_the_version_asks_for_it(server: RoomServer, name: str) -> None:
    room_id = server.alice.create_room(
        room_version=name, creation_content={"creator": "@bob:a.example", "type": "m.space"}
    )
    named = {"creator": "@alice:a.example"} if int(name) < 11 else {}
    assert server.content(room_id, "m.room.create") == {"room_version": name, "type": "m.space", **named}
