# SPDX-License-Identifier: Apache-2.0
"""Sending messages and state, over HTTP, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import attrs
import pytest

from storage.aliases import DeletedAlias
from storage.engine.database import Database, Transaction
from storage.event_records import NewEvent
from tests.support.databases import one_set
from tests.support.reactor import in_reactor
from tests.support.room_server import RoomServer, ok, refused, room_server

ALICE = "@alice:a.example"
BOB = "@bob:a.example"
UNKNOWN_ROOM = "!" + "A" * 43
FORBIDDEN = (403, "M_FORBIDDEN")
BAD_JSON = (400, "M_BAD_JSON")


@pytest.fixture
def server(database: Database) -> Iterator[RoomServer]:
    with room_server(database) as running:
        yield running


@pytest.fixture
def room_id(server: RoomServer) -> str:
    """A public room of Alice's, which Bob has joined."""
    room_id = server.alice.create_room(preset="public_chat")
    ok(server.bob.membership("join", room_id))
    return room_id


def message_ids(server: RoomServer, room_id: str) -> list[str]:
    return [e.event.event_id for e in server.events(room_id) if e.event.type == "m.room.message"]


# Messages


def test_a_message_is_sent(server: RoomServer, room_id: str) -> None:
    event_id = ok(server.bob.send(room_id, "t1", "hällo\0"))["event_id"]
    sent = server.events(room_id)[-1].event
    assert (sent.event_id, sent.type, sent.sender, sent.state_key) == (event_id, "m.room.message", BOB, None)
    assert sent.content == {"msgtype": "m.text", "body": "hällo\0"}


def test_any_type_is_sent(server: RoomServer, room_id: str) -> None:
    path = f"/rooms/{quote(room_id)}/send/{quote('org.example/ü', safe='')}/t1"
    event_id = ok(server.bob.put(path, {}))["event_id"]
    sent = server.events(room_id)[-1].event
    assert (sent.event_id, sent.type, sent.content) == (event_id, "org.example/ü", {})


def test_only_members_send(server: RoomServer, room_id: str) -> None:
    stranger, unknown = server.carol.send(room_id, "t1"), server.carol.send(UNKNOWN_ROOM, "t1")
    assert refused(stranger) == refused(unknown) == FORBIDDEN
    assert stranger.json == unknown.json
    # What is wrong with the content says nothing about the room either.
    for room in (room_id, UNKNOWN_ROOM):
        path = f"/rooms/{quote(room)}/send/m.room.message/t2"
        assert server.carol.put(path, {"float": 0.5}).json == unknown.json
    # The name of something else is no room either.
    assert refused(server.bob.send(ALICE, "t1")) == FORBIDDEN
    assert message_ids(server, room_id) == []


def test_power_levels_are_kept(server: RoomServer, room_id: str) -> None:
    ok(server.alice.set_state(room_id, "m.room.power_levels", {"events_default": 50}))
    assert refused(server.bob.send(room_id, "t1")) == FORBIDDEN
    ok(server.alice.send(room_id, "t1"))


TYPES_THAT_ARE_NOT_SENT = [
    ("m.room.create", FORBIDDEN),
    ("m.room.member", FORBIDDEN),
    ("t" * 256, (400, "M_INVALID_PARAM")),
    ("ü" * 128, (400, "M_INVALID_PARAM")),
    ("a%00b", (400, "M_INVALID_PARAM")),
]


def test_types_that_are_not_sent(server: RoomServer, room_id: str) -> None:
    for event_type, error in TYPES_THAT_ARE_NOT_SENT:
        path = f"/rooms/{quote(room_id)}/send/{quote(event_type, safe='%')}/t1"
        assert refused(server.alice.put(path, {"membership": "join"})) == error


CONTENTS = [
    (b"", None),
    (b"[]", BAD_JSON),
    (b"{", (400, "M_NOT_JSON")),
    (b'{"a": 0.5}', BAD_JSON),
    (b'{"a": [{"b": 1e3}]}', BAD_JSON),
    (b'{"a": 9007199254740991}', None),
    (b'{"a": 9007199254740992}', BAD_JSON),
    (b'{"a": "\\ud800"}', (400, "M_NOT_JSON")),
    (b'{"a": "%b"}' % (b"x" * 64_000), None),
    (b'{"a": "%b"}' % (b"x" * 65_536), (413, "M_TOO_LARGE")),
    (b'{"a": "%b"}' % (b"x" * 1_100_000), (413, "M_TOO_LARGE")),
]


def test_contents(server: RoomServer, room_id: str) -> None:
    for i, (body, error) in enumerate(CONTENTS):
        path = f"/rooms/{quote(room_id)}/send/m.room.message/t{i}"
        answer = server.bob.put(path, body=body)
        if error is None:
            assert ok(answer)["event_id"] == server.events(room_id)[-1].event.event_id
        else:
            count = len(server.events(room_id))
            assert (body[:50], refused(answer)) == (body[:50], error)
            # Nothing was written, and nothing is in the way of the next try.
            ok(server.bob.send(room_id, f"t{i}"))
            assert len(server.events(room_id)) == count + 1


def test_suspended_users_send_nothing(server: RoomServer) -> None:
    room_id = server.alice.create_room(invite=[server.sam.id])
    ok(server.sam_before.membership("join", room_id))
    suspended = (403, "M_USER_SUSPENDED")
    assert refused(server.sam.send(room_id, "t1")) == suspended
    assert refused(server.sam.set_state(room_id, "m.room.topic", {"topic": "x"})) == suspended


# Transaction ids


def test_a_request_that_is_sent_again_gets_the_first_event(server: RoomServer, room_id: str) -> None:
    first = ok(server.bob.send(room_id, "t1", "one"))
    assert ok(server.bob.send(room_id, "t1", "another body")) == first
    assert message_ids(server, room_id) == [first["event_id"]]


def test_a_transaction_id_belongs_to_a_device_and_a_path(server: RoomServer, room_id: str) -> None:
    other_room = server.alice.create_room()
    answers = [
        server.alice.send(room_id, "t1"),
        server.alice2.send(room_id, "t1"),
        server.bob.send(room_id, "t1"),
        server.alice.send(other_room, "t1"),
        server.alice.put(f"/rooms/{quote(room_id)}/send/org.example/t1", {}),
        server.alice.send(room_id, "t2"),
    ]
    ids = [ok(answer)["event_id"] for answer in answers]
    assert len(set(ids)) == 6
    assert ok(server.alice.send(room_id, "t1"))["event_id"] == ids[0]
    assert ok(server.alice2.send(room_id, "t1"))["event_id"] == ids[1]
    assert (
        ok(
            server.alice.client.put(
                f"/_matrix/client/r0/rooms/{quote(other_room)}/send/m.room.message/t1", {}
            )
        )["event_id"]
        == ids[3]
    )


def test_requests_at_the_same_time_make_one_event(server: RoomServer, room_id: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.bob.send(room_id, "t1"), range(24)))
    [event_id] = {ok(answer)["event_id"] for answer in answers}
    assert message_ids(server, room_id) == [event_id]


def test_a_failed_request_may_be_made_again(server: RoomServer, room_id: str) -> None:
    assert refused(server.carol.send(room_id, "t1")) == FORBIDDEN
    ok(server.carol.membership("join", room_id))
    event_id = ok(server.carol.send(room_id, "t1"))["event_id"]
    assert message_ids(server, room_id) == [event_id]


def test_whoever_left_is_still_told_of_what_they_sent(server: RoomServer, room_id: str) -> None:
    first = ok(server.bob.send(room_id, "t1"))
    ok(server.bob.membership("leave", room_id))
    assert ok(server.bob.send(room_id, "t1")) == first
    assert refused(server.bob.send(room_id, "t2")) == FORBIDDEN


def test_after_a_restart_the_first_event_is_found(database: Database) -> None:
    with room_server(database) as server:
        room_id = server.alice.create_room()
        ids = [ok(server.alice.send(room_id, f"t{i}"))["event_id"] for i in range(3)]
    with room_server(database) as server:
        # The first request of a device is looked up; the others meet the primary key.
        assert [ok(server.alice.send(room_id, f"t{i}"))["event_id"] for i in (2, 1, 0)] == ids[::-1]
        fresh = ok(server.alice.send(room_id, "t3"))["event_id"]
        assert ok(server.alice.send(room_id, "t1"))["event_id"] == ids[1]
        assert message_ids(server, room_id) == [*ids, fresh]


def test_a_retry_from_before_a_restart_fails_nobody_else(database: Database) -> None:
    with room_server(database) as server:
        room_id = server.alice.create_room(preset="public_chat")
        ok(server.bob.membership("join", room_id))
        ids = [ok(server.alice.send(room_id, f"t{i}"))["event_id"] for i in range(4)]
    with room_server(database) as server:
        ok(server.alice.send(room_id, "warm"))
        ok(server.bob.send(room_id, "warm"))
        with ThreadPoolExecutor(8) as pool:
            retried = [pool.submit(server.alice.send, room_id, f"t{i}") for i in range(4)]
            others = [pool.submit(server.bob.send, room_id, f"o{i}") for i in range(20)]
        assert [ok(answer.result())["event_id"] for answer in retried] == ids
        fresh = [ok(answer.result())["event_id"] for answer in others]
        assert sorted(message_ids(server, room_id)[6:]) == sorted(fresh)


def test_the_length_of_transaction_ids(server: RoomServer, room_id: str) -> None:
    ok(server.bob.send(room_id, "t" * 255))
    assert refused(server.bob.send(room_id, "t" * 256)) == (400, "M_INVALID_PARAM")
    assert refused(server.bob.send(room_id, "ü" * 128)) == (400, "M_INVALID_PARAM")
    ok(server.bob.send(room_id, "a/b c?#"))


def test_a_token_without_a_device_has_transaction_ids_of_its_own(server: RoomServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    ok(server.bridge.membership("join", room_id))
    first = ok(server.bridge.send(room_id, "t1"))
    assert ok(server.bridge.send(room_id, "t1")) == first
    assert ok(server.alice.send(room_id, "t1")) != first


@attrs.define
class Counting:
    """A database that counts what is read."""

    database: Database
    reads: list[str] = attrs.field(factory=list)

    @property
    def dialect(self) -> str:
        return self.database.dialect

    async def read(self, name: str, work: Callable[[Transaction], Any]) -> Any:
        self.reads.append(name)
        return await self.database.read(name, work)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.database, name)


@one_set
def test_a_send_into_a_warm_room_reads_nothing(database: Database) -> None:
    counting = Counting(database)
    with room_server(counting) as server:  # type: ignore[arg-type]
        room_id = server.alice.create_room(preset="public_chat")
        ok(server.alice.send(room_id, "warm"))
        ok(server.alice.set_state(room_id, "m.room.topic", {"topic": "warm"}))
        counting.reads.clear()
        for i in range(5):
            ok(server.alice.send(room_id, f"t{i}"))
            ok(server.alice.send(room_id, f"t{i}"))
            ok(server.alice.set_state(room_id, "m.room.topic", {"topic": str(i)}))
        assert counting.reads == []


def test_the_row_of_the_transaction_id_commits_with_its_event(server: RoomServer, room_id: str) -> None:
    server.parts.committed.clear()
    ok(server.bob.send(room_id, "t1"))
    [committed] = server.parts.committed
    [event] = [r.stored for r in committed.unit.records if isinstance(r, NewEvent)]
    transactions = server.parts.storage.client_transactions
    device = server.bob.requester.device
    assert device is not None
    path = f"/rooms/{room_id}/send/m.room.message"
    assert in_reactor(transactions.event_of(device, path, "t1")) == event.number


# Timestamps


def test_application_services_give_events_their_time(server: RoomServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    room = f"/rooms/{quote(room_id)}"
    ok(
        server.bridge.put(
            f"{room}/state/m.room.member/{quote(server.bridge.id)}?ts=1000", {"membership": "join"}
        )
    )
    ok(server.bridge.put(f"{room}/send/m.room.message/t1?ts=2000", {}))
    ok(server.bridge.put(f"{room}/send/m.room.message/t2", {}))
    ok(server.alice.put(f"{room}/send/m.room.message/t1?ts=4000", {}))
    ok(server.alice.put(f"{room}/state/org.example?ts=5000", {}))
    ok(server.alice.set_state(room_id, "m.room.power_levels", {"users": {server.bridge.id: 50}}))
    ok(server.bridge.put(f"{room}/state/org.example?ts=6000", {}))
    stamps = [e.event.origin_server_ts for e in server.events(room_id)[-7:]]
    assert [ts if ts < 10_000 else "now" for ts in stamps] == [1000, 2000, "now", "now", "now", "now", 6000]
    assert refused(server.bridge.put(f"{room}/send/m.room.message/t3?ts=soon", {})) == (
        400,
        "M_INVALID_PARAM",
    )
    assert refused(server.bridge.put(f"{room}/send/m.room.message/t3?ts={2**53}", {}))[0] == 400


# State


def test_state_is_set_with_and_without_a_key(server: RoomServer, room_id: str) -> None:
    room = f"/rooms/{quote(room_id)}"
    ok(server.alice.put(f"{room}/state/m.room.topic", {"topic": "none"}))
    assert server.content(room_id, "m.room.topic") == {"topic": "none"}
    ok(server.alice.put(f"{room}/state/m.room.topic/", {"topic": "slash"}))
    assert server.content(room_id, "m.room.topic") == {"topic": "slash"}
    event_id = ok(server.alice.put(f"{room}/state/org.example/a%2Fb", {"n": 1}))["event_id"]
    stored = server.state(room_id)["org.example", "a/b"]
    assert (stored.event.event_id, stored.event.content) == (event_id, {"n": 1})


def test_who_says_the_same_again_gets_the_event_that_is_there(server: RoomServer, room_id: str) -> None:
    ok(server.alice.set_state(room_id, "m.room.power_levels", {"users": {BOB: 50}}))
    content = {"topic": "x", "list": [1, {"a": True}], "n": 1}
    first = ok(server.alice.set_state(room_id, "m.room.topic", content))
    count = len(server.events(room_id))
    assert ok(server.alice.set_state(room_id, "m.room.topic", dict(reversed(content.items())))) == first
    assert len(server.events(room_id)) == count
    # Other words, another speaker, or a redaction in between make another event.
    others = [
        ok(server.alice.set_state(room_id, "m.room.topic", {**content, "n": True})),
        ok(server.alice.set_state(room_id, "m.room.topic", content)),
        ok(server.bob.set_state(room_id, "m.room.topic", content)),
    ]
    ok(server.bob.redact(room_id, others[-1]["event_id"], "t1"))
    others.append(ok(server.bob.set_state(room_id, "m.room.topic", content)))
    assert len({first["event_id"], *(other["event_id"] for other in others)}) == 5


def test_the_same_state_at_the_same_time_makes_one_event(server: RoomServer, room_id: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: server.alice.set_state(room_id, "m.room.topic", {"topic": "x"}), range(16))
        )
    assert len({ok(answer)["event_id"] for answer in answers}) == 1


def test_whoever_left_cannot_say_the_same_again(server: RoomServer, room_id: str) -> None:
    ok(server.alice.set_state(room_id, "m.room.power_levels", {"state_default": 0}))
    ok(server.bob.set_state(room_id, "m.room.topic", {"topic": "x"}))
    ok(server.bob.membership("leave", room_id))
    assert refused(server.bob.set_state(room_id, "m.room.topic", {"topic": "x"})) == FORBIDDEN


STATE_THAT_IS_NOT_SET = [
    ("m.room.create", "", {"room_version": "12"}, FORBIDDEN),
    ("m.room.create", "x", {}, FORBIDDEN),
    ("m.room.redaction", "", {"redacts": "$" + "A" * 43}, FORBIDDEN),
    ("org.example", BOB, {}, FORBIDDEN),
    ("m.room.power_levels", "", {"users": {ALICE: 100}}, FORBIDDEN),
    ("m.room.power_levels", "", {"ban": "50"}, BAD_JSON),
    ("m.room.power_levels", "", {"users": {"alice": 100}}, BAD_JSON),
    ("m.room.power_levels", "", {"events": {"org.example": "50"}}, BAD_JSON),
    ("t" * 256, "", {}, (400, "M_INVALID_PARAM")),
    ("org.example", "k" * 256, {}, (400, "M_INVALID_PARAM")),
    ("org.example", "a\0b", {}, (400, "M_INVALID_PARAM")),
    ("org.example", "", {"a": 0.5}, BAD_JSON),
    ("org.example", "", {"a": "x" * 65_536}, (413, "M_TOO_LARGE")),
]


def test_state_that_is_not_set(server: RoomServer, room_id: str) -> None:
    count = len(server.events(room_id))
    for event_type, state_key, content, error in STATE_THAT_IS_NOT_SET:
        answer = server.alice.set_state(room_id, event_type, content, state_key)
        assert (event_type, refused(answer)) == (event_type, error)
    assert len(server.events(room_id)) == count


def test_who_may_not_set_state(server: RoomServer, room_id: str) -> None:
    assert refused(server.bob.set_state(room_id, "m.room.topic", {"topic": "x"})) == FORBIDDEN
    for room in (room_id, UNKNOWN_ROOM):
        answer = server.carol.set_state(room, "m.room.topic", {"topic": "x"})
        assert (answer.status, answer.json["error"]) == (403, "@carol:a.example is not in the room")


# m.room.canonical_alias


def test_new_aliases_must_point_to_the_room(server: RoomServer, room_id: str) -> None:
    for name, room in (("here", room_id), ("also", room_id), ("there", server.alice.create_room())):
        ok(server.alice.put(f"/directory/room/%23{name}:a.example", {"room_id": room}))
    alias, also = "#here:a.example", "#also:a.example"

    def set_aliases(content: dict[str, Any]) -> Any:
        return server.alice.set_state(room_id, "m.room.canonical_alias", content)

    for content in (
        {"alias": "#there:a.example"},
        {"alias": "#nowhere:a.example"},
        {"alias": "#here:b.example"},
        {"alias": alias, "alt_aliases": [also, "#there:a.example"]},
    ):
        assert refused(set_aliases(content)) == (400, "M_BAD_ALIAS")
    for content in (
        {"alias": "here"},
        {"alias": 5},
        {"alias": alias, "alt_aliases": "#also:a.example"},
        {"alias": alias, "alt_aliases": [5]},
        {"alias": alias, "alt_aliases": ["#" + "a" * 255 + ":a.example"]},
    ):
        assert refused(set_aliases(content)) == (400, "M_INVALID_PARAM")
    ok(set_aliases({"alias": alias, "alt_aliases": [also]}))
    # What stands there already is not looked at again, and may go.
    server.write(DeletedAlias(also))
    ok(set_aliases({"alias": "", "alt_aliases": [also]}))
    ok(set_aliases({}))
    assert server.content(room_id, "m.room.canonical_alias") == {}


def test_strangers_learn_nothing_of_aliases(server: RoomServer, room_id: str) -> None:
    for alias in ("#nowhere:a.example", "nonsense"):
        answer = server.carol.set_state(room_id, "m.room.canonical_alias", {"alias": alias})
        assert refused(answer) == FORBIDDEN
