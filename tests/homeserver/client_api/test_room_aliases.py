# SPDX-License-Identifier: Apache-2.0
"""Room aliases, over HTTP, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from storage.engine.database import Database
from tests.support.http import Response
from tests.support.room_server import CLIENT, RoomServer, User, ok, refused, room_server

UNKNOWN_ROOM = "!" + "A" * 43
FORBIDDEN = (403, "M_FORBIDDEN")
INVALID = (400, "M_INVALID_PARAM")
NOT_FOUND = (404, "M_NOT_FOUND")
ALIAS = "#lobby:a.example"


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


def path_of(alias: str) -> str:
    return f"{CLIENT}/directory/room/{quote(alias, safe='')}"


def add(user: User, alias: str, room_id: str) -> Response:
    return user.client.put(path_of(alias), {"room_id": room_id})


def delete(user: User, alias: str) -> Response:
    return user.client.delete(path_of(alias))


def resolve(server: RoomServer, alias: str) -> Response:
    return server.server.client(None).get(path_of(alias))


def test_an_alias_is_made_resolved_and_deleted(server: RoomServer, room_id: str) -> None:
    assert refused(resolve(server, ALIAS)) == NOT_FOUND
    assert ok(add(server.bob, ALIAS, room_id)) == {}
    assert ok(resolve(server, ALIAS)) == {"room_id": room_id, "servers": ["a.example"]}
    assert ok(delete(server.bob, ALIAS)) == {}
    assert refused(resolve(server, ALIAS)) == NOT_FOUND
    assert refused(delete(server.bob, ALIAS)) == NOT_FOUND


def test_an_alias_is_taken_once(server: RoomServer, room_id: str) -> None:
    other = server.carol.create_room()
    ok(add(server.alice, ALIAS, room_id))
    for user, room in ((server.alice, room_id), (server.carol, other)):
        assert refused(add(user, ALIAS, room)) == (409, "M_UNKNOWN")
    assert ok(resolve(server, ALIAS))["room_id"] == room_id


def test_of_those_who_come_together_one_gets_the_alias(server: RoomServer) -> None:
    users = [server.alice, server.bob, server.carol, server.dan]
    rooms = [user.create_room() for user in users]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(add, users, [ALIAS] * 4, rooms))
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
    [winner] = [i for i, answer in enumerate(answers) if answer.status == 200]
    assert ok(resolve(server, ALIAS))["room_id"] == rooms[winner]
    for user, room in zip(users, rooms, strict=True):
        ok(user.send(room, "t1"))


ALIASES_THAT_ARE_NOT_MADE = [
    "lobby",
    "#lobby",
    "#lobby:",
    "#lobby:exa mple.org",
    "#:a.example",
    "#a b:a.example",
    "#a\nb:a.example",
    "#a\0b:a.example",
    "#" + "a" * 255 + ":a.example",
    "#lobby:b.example",
]


def test_aliases_that_are_not_made(server: RoomServer, room_id: str) -> None:
    for alias in ALIASES_THAT_ARE_NOT_MADE:
        assert (alias, refused(add(server.alice, alias, room_id))) == (alias, INVALID)


def test_what_is_no_alias_is_not_looked_up(server: RoomServer) -> None:
    for alias in ("lobby", "#lobby:", "!room:a.example"):
        assert refused(resolve(server, alias)) == INVALID
        assert refused(delete(server.alice, alias)) == INVALID


def test_other_servers_are_not_asked_yet(server: RoomServer) -> None:
    assert refused(resolve(server, "#lobby:b.example")) == NOT_FOUND
    assert refused(delete(server.alice, "#lobby:b.example")) == NOT_FOUND


def test_only_members_make_aliases(server: RoomServer, room_id: str) -> None:
    stranger, unknown = add(server.carol, ALIAS, room_id), add(server.carol, ALIAS, UNKNOWN_ROOM)
    assert refused(stranger) == refused(unknown) == FORBIDDEN
    assert stranger.json == unknown.json
    ok(add(server.admin, "#admin:a.example", room_id))
    for nothing in (UNKNOWN_ROOM, server.alice.id, "m.room.member"):
        assert refused(add(server.admin, ALIAS, nothing)) == FORBIDDEN
    assert refused(server.alice.client.put(path_of(ALIAS), {})) == (400, "M_MISSING_PARAM")
    assert refused(server.alice.client.put(path_of(ALIAS), {"room_id": 5})) == (400, "M_BAD_JSON")


def test_who_may_delete_an_alias(server: RoomServer, room_id: str) -> None:
    for i, user in enumerate((server.bob, server.alice, server.admin)):
        alias = f"#a{i}:a.example"
        ok(add(server.bob, alias, room_id))
        assert refused(delete(server.carol, alias)) == FORBIDDEN
        ok(delete(user, alias))
    # The power to publish aliases ends with the membership, one's own aliases do not.
    ok(add(server.bob, ALIAS, room_id))
    ok(server.alice.membership("leave", room_id))
    assert refused(delete(server.alice, ALIAS)) == FORBIDDEN
    ok(server.bob.membership("leave", room_id))
    ok(delete(server.bob, ALIAS))


def test_a_deleted_alias_is_no_longer_published(server: RoomServer, room_id: str) -> None:
    aliases = [ALIAS, "#also:a.example", "#more:a.example"]
    for alias in aliases:
        ok(add(server.bob, alias, room_id))
    content = {"alias": ALIAS, "alt_aliases": aliases[1:], "org.example": 1}
    ok(server.alice.set_state(room_id, "m.room.canonical_alias", content))
    server.parts.committed.clear()
    ok(delete(server.alice, "#also:a.example"))
    assert len(server.parts.committed) == 1  # event and deletion are one unit
    assert server.content(room_id, "m.room.canonical_alias") == {
        **content,
        "alt_aliases": ["#more:a.example"],
    }
    ok(delete(server.alice, ALIAS))
    left = {"alt_aliases": ["#more:a.example"], "org.example": 1}
    assert server.content(room_id, "m.room.canonical_alias") == left
    # Bob may delete his alias, and not publish another canonical alias.
    ok(delete(server.bob, "#more:a.example"))
    assert server.content(room_id, "m.room.canonical_alias") == left
    assert refused(resolve(server, "#more:a.example")) == NOT_FOUND


def test_the_aliases_of_a_room(server: RoomServer, room_id: str) -> None:
    path = f"/rooms/{quote(room_id)}/aliases"
    assert ok(server.bob.get(path)) == {"aliases": []}
    for alias in (ALIAS, "#also:a.example"):
        ok(add(server.bob, alias, room_id))
    assert ok(server.alice.get(path)) == {"aliases": ["#also:a.example", ALIAS]}
    assert ok(server.admin.get(path)) == {"aliases": ["#also:a.example", ALIAS]}
    stranger = server.carol.get(path)
    unknown = server.carol.get(f"/rooms/{UNKNOWN_ROOM}/aliases")
    assert refused(stranger) == refused(unknown) == FORBIDDEN
    assert stranger.json == unknown.json
    visible = {"history_visibility": "world_readable"}
    ok(server.alice.set_state(room_id, "m.room.history_visibility", visible))
    assert ok(server.carol.get(path)) == {"aliases": ["#also:a.example", ALIAS]}
