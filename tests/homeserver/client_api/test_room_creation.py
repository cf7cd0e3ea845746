# SPDX-License-Identifier: Apache-2.0
"""Creating rooms, over HTTP, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from federation.errors import LimitExceeded
from homeserver.accounts.limits import NoLimits
from storage.account_data import GLOBAL, AccountData
from storage.engine.database import Database
from storage.profiles import ProfileField
from tests.support.reactor import in_reactor
from tests.support.room_server import RoomServer, ok, refused, room_server

ALICE = "@alice:a.example"
BOB = "@bob:a.example"
CAROL = "@carol:a.example"
FIRST = ["m.room.create", "m.room.member", "m.room.power_levels"]
PRESET = ["m.room.join_rules", "m.room.history_visibility", "m.room.guest_access"]


@pytest.fixture
def server(database: Database) -> Iterator[RoomServer]:
    with room_server(database) as running:
        yield running


def test_a_room_without_options_is_private(server: RoomServer) -> None:
    room_id = server.alice.create_room()
    assert server.types(room_id) == FIRST + PRESET
    assert server.content(room_id, "m.room.create") == {"room_version": "12"}
    assert server.content(room_id, "m.room.member", ALICE) == {"membership": "join"}
    assert server.content(room_id, "m.room.join_rules") == {"join_rule": "invite"}
    assert server.content(room_id, "m.room.history_visibility") == {"history_visibility": "shared"}
    assert server.content(room_id, "m.room.guest_access") == {"guest_access": "can_join"}
    assert ok(server.alice.get("/joined_rooms")) == {"joined_rooms": [room_id]}


def test_all_events_come_in_the_order_of_the_specification_and_in_one_unit(server: RoomServer) -> None:
    room_id = server.alice.create_room(
        invite=[BOB, CAROL],
        topic="About us",
        name="We",
        initial_state=[
            {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
            {"type": "org.example", "state_key": "k", "content": {"n": 1}},
        ],
        room_alias_name="we",
        preset="public_chat",
    )
    assert server.types(room_id) == [
        *FIRST, "m.room.canonical_alias", *PRESET, "m.room.encryption", "org.example", "m.room.name",
        "m.room.topic", "m.room.member", "m.room.member",
    ]  # fmt: skip
    assert server.content(room_id, "m.room.join_rules") == {"join_rule": "public"}
    assert server.content(room_id, "m.room.guest_access") == {"guest_access": "forbidden"}
    assert server.content(room_id, "m.room.name") == {"name": "We"}
    assert server.content(room_id, "m.room.topic") == {
        "topic": "About us",
        "m.topic": {"m.text": [{"body": "About us"}]},
    }
    assert server.content(room_id, "m.room.canonical_alias") == {"alias": "#we:a.example"}
    assert server.content(room_id, "m.room.member", CAROL) == {"membership": "invite"}
    with_events = [c for c in server.parts.committed if c.unit.positions]
    assert [c.unit.positions for c in with_events] == [13]


@pytest.mark.parametrize("version", ["1", "10", "11", "12"])
def test_power_levels_of_each_version(server: RoomServer, version: str) -> None:
    room_id = server.alice.create_room(room_version=version, preset="private_chat")
    levels = server.content(room_id, "m.room.power_levels")
    assert levels is not None
    assert levels["users"] == ({} if version == "12" else {ALICE: 100})
    assert levels["events"]["m.room.tombstone"] == (150 if version == "12" else 100)
    assert (levels["state_default"], levels["events_default"], levels["invite"]) == (50, 0, 0)
    creator = {"creator": ALICE} if version in ("1", "10") else {}
    assert server.content(room_id, "m.room.create") == {"room_version": version, **creator}
    assert room_id.endswith(":a.example") == (version != "12")


@pytest.mark.parametrize(
    ("preset", "answer"), [("public_chat", (403, "M_FORBIDDEN")), ("private_chat", None)]
)
def test_not_everybody_may_call_all_who_are_in_a_public_room(
    server: RoomServer, preset: str, answer: tuple[int, str] | None
) -> None:
    room_id = server.alice.create_room(preset=preset, invite=[BOB])
    ok(server.bob.membership("join", room_id))
    call = {"call_id": "1", "version": "1", "lifetime": 60_000}
    path = f"/rooms/{room_id}/send/m.call.invite/t"
    ok(server.alice.put(path, call))
    if answer is None:
        ok(server.bob.put(path, call))
    else:
        assert refused(server.bob.put(path, call)) == answer


def test_who_is_trusted_gets_the_power_of_the_creator(server: RoomServer) -> None:
    options: dict[str, Any] = {"preset": "trusted_private_chat", "invite": [BOB, CAROL, BOB]}
    room_id = server.alice.create_room(room_version="11", **options)
    levels = server.content(room_id, "m.room.power_levels")
    assert levels is not None
    assert levels["users"] == {ALICE: 100, BOB: 100, CAROL: 100}
    content = {"additional_creators": ["@dan:b.example", BOB]}
    room_id = server.alice.create_room(room_version="12", creation_content=content, **options)
    assert server.content(room_id, "m.room.create") == {
        "room_version": "12",
        "additional_creators": ["@dan:b.example", BOB, CAROL],
    }
    levels = server.content(room_id, "m.room.power_levels")
    assert levels is not None
    assert levels["users"] == {}
    ok(server.bob.membership("join", room_id))
    ok(server.bob.set_state(room_id, "m.room.tombstone", {"body": "", "replacement_room": "!x"}))


def test_the_visibility_chooses_the_preset_and_lists_the_room(server: RoomServer) -> None:
    listed = server.alice.create_room(visibility="public")
    private = server.alice.create_room(visibility="private")
    unlisted = server.alice.create_room(preset="public_chat")
    rules = {room_id: server.content(room_id, "m.room.join_rules") for room_id in (listed, private, unlisted)}
    assert [rules[room_id]["join_rule"] for room_id in rules] == ["public", "invite", "public"]
    storage = server.parts.storage
    published = in_reactor(storage.published_rooms.all())
    assert list(in_reactor(storage.strings.values(published)).values()) == [listed]


def test_the_creation_content_and_its_protected_keys(server: RoomServer) -> None:
    predecessor = {"room_id": "!old:a.example", "event_id": "$x"}
    content = {
        "m.federate": False,
        "type": "m.space",
        "predecessor": predecessor,
        "org.example": [1],
        "creator": BOB,
        "room_version": "1",
    }
    room_id = server.alice.create_room(creation_content=content)
    assert server.content(room_id, "m.room.create") == {
        "m.federate": False,
        "type": "m.space",
        "predecessor": predecessor,
        "org.example": [1],
        "room_version": "12",
    }


def test_initial_state_goes_before_the_preset_and_behind_name_and_topic(server: RoomServer) -> None:
    room_id = server.alice.create_room(
        name="The name",
        topic="The topic",
        initial_state=[
            {"type": "m.room.join_rules", "content": {"join_rule": "knock"}},
            {
                "type": "m.room.history_visibility",
                "state_key": "",
                "content": {"history_visibility": "joined"},
            },
            {"type": "m.room.name", "content": {"name": "Another"}},
            {"type": "m.room.name", "state_key": "other", "content": {"name": "Kept"}},
        ],
    )
    assert server.types(room_id) == [
        *FIRST, "m.room.guest_access", "m.room.join_rules", "m.room.history_visibility", "m.room.name",
        "m.room.name", "m.room.topic",
    ]  # fmt: skip
    assert server.content(room_id, "m.room.join_rules") == {"join_rule": "knock"}
    assert server.content(room_id, "m.room.history_visibility") == {"history_visibility": "joined"}
    assert server.content(room_id, "m.room.name") == {"name": "The name"}
    assert server.content(room_id, "m.room.name", "other") == {"name": "Kept"}


def test_members_carry_their_profiles_and_direct_rooms_say_so(server: RoomServer) -> None:
    alice, bob = server.alice.requester.user, server.bob.requester.user
    server.write(
        ProfileField(alice, "displayname", "Alice"),
        ProfileField(alice, "avatar_url", "mxc://a.example/alice"),
        ProfileField(alice, "org.example", "not in the room"),
        ProfileField(bob, "displayname", "Bob"),
    )
    room_id = server.alice.create_room(is_direct=True, invite=[BOB, "@nobody:a.example"])
    assert server.content(room_id, "m.room.member", ALICE) == {
        "membership": "join",
        "displayname": "Alice",
        "avatar_url": "mxc://a.example/alice",
    }
    assert server.content(room_id, "m.room.member", BOB) == {
        "membership": "invite",
        "displayname": "Bob",
        "is_direct": True,
    }
    assert server.content(room_id, "m.room.member", "@nobody:a.example") == {
        "membership": "invite",
        "is_direct": True,
    }


def test_power_levels_are_overridden_key_by_key(server: RoomServer) -> None:
    override = {"events_default": 10, "users": {BOB: 50}, "org.example": 1}
    room_id = server.alice.create_room(power_level_content_override=override)
    levels = server.content(room_id, "m.room.power_levels")
    assert levels is not None
    assert {key: levels[key] for key in override} == override
    assert levels["state_default"] == 50


REFUSED: list[tuple[dict[str, Any], tuple[int, str]]] = [
    ({"room_version": "99"}, (400, "M_UNSUPPORTED_ROOM_VERSION")),
    ({"room_version": 12}, (400, "M_BAD_JSON")),
    ({"preset": "org.example"}, (400, "M_BAD_JSON")),
    ({"visibility": "org.example"}, (400, "M_BAD_JSON")),
    ({"name": "x" * 70_000}, (413, "M_TOO_LARGE")),
    ({"creation_content": {"m.federate": "no"}}, (400, "M_BAD_JSON")),
    ({"creation_content": {"type": 1}}, (400, "M_BAD_JSON")),
    ({"creation_content": {"org.example": 1.5}}, (400, "M_BAD_JSON")),
    ({"creation_content": {"additional_creators": ["alice"]}}, (400, "M_INVALID_ROOM_STATE")),
    ({"creation_content": {"additional_creators": BOB}}, (400, "M_INVALID_ROOM_STATE")),
    (
        {
            "creation_content": {"additional_creators": BOB},
            "preset": "trusted_private_chat",
            "invite": [BOB],
        },
        (400, "M_BAD_JSON"),
    ),
    ({"power_level_content_override": {"users": {ALICE: 100}}}, (400, "M_INVALID_ROOM_STATE")),
    ({"power_level_content_override": {"users": {"bob": 100}}}, (400, "M_INVALID_ROOM_STATE")),
    ({"power_level_content_override": {"ban": "50"}}, (400, "M_INVALID_ROOM_STATE")),
    (
        {"room_version": "11", "power_level_content_override": {"users": {BOB: 100}}, "name": "x"},
        (400, "M_INVALID_ROOM_STATE"),
    ),
    ({"initial_state": [{"content": {}}]}, (400, "M_MISSING_PARAM")),
    ({"initial_state": [{"type": "m.room.create", "content": {}}]}, (400, "M_INVALID_ROOM_STATE")),
    (
        {"initial_state": [{"type": "m.room.member", "state_key": BOB, "content": {"membership": "invite"}}]},
        (400, "M_INVALID_ROOM_STATE"),
    ),
    (
        {"initial_state": [{"type": "m.room.redaction", "content": {"redacts": "$x"}}]},
        (400, "M_INVALID_ROOM_STATE"),
    ),
    (
        {"initial_state": [{"type": "org.example", "state_key": BOB, "content": {}}]},
        (400, "M_INVALID_ROOM_STATE"),
    ),
    ({"initial_state": [{"type": "t" * 256, "content": {}}]}, (400, "M_INVALID_PARAM")),
    ({"initial_state": [{"type": "t", "state_key": "ü" * 128, "content": {}}]}, (400, "M_INVALID_PARAM")),
    ({"initial_state": [{"type": "t", "content": {"float": 0.5}}]}, (400, "M_BAD_JSON")),
    ({"initial_state": [{"type": f"t{i}", "content": {}} for i in range(501)]}, (400, "M_INVALID_PARAM")),
    (
        {"initial_state": [{"type": "m.room.canonical_alias", "content": {"alias": "#x:a.example"}}]},
        (400, "M_BAD_ALIAS"),
    ),
    ({"invite": [ALICE]}, (400, "M_INVALID_ROOM_STATE")),
    ({"invite": ["bob"]}, (400, "M_INVALID_PARAM")),
    ({"invite": ["@bob:b.example"]}, (400, "M_UNKNOWN")),
    ({"invite": [f"@u{i}:a.example" for i in range(201)]}, (400, "M_INVALID_PARAM")),
    ({"room_alias_name": "a:b"}, (400, "M_INVALID_PARAM")),
    ({"room_alias_name": ""}, (400, "M_INVALID_PARAM")),
    ({"room_alias_name": "a b"}, (400, "M_INVALID_PARAM")),
    ({"room_alias_name": "a\0b"}, (400, "M_BAD_JSON")),
    ({"room_alias_name": "a" * 250}, (400, "M_INVALID_PARAM")),
    ({"invite_3pid": [{"id_server": "i.example"}]}, (400, "M_MISSING_PARAM")),
    (
        {
            "invite_3pid": [
                {
                    "id_server": "i.example",
                    "id_access_token": "t",
                    "medium": "email",
                    "address": "b@b.example",
                }
            ]
        },
        (403, "M_FORBIDDEN"),
    ),
]


def test_what_is_refused_leaves_nothing(server: RoomServer) -> None:
    for options, error in REFUSED:
        answer = server.alice.post("/createRoom", options)
        assert (str(options)[:200], refused(answer)) == (str(options)[:200], error)
    assert [c for c in server.parts.committed if c.unit.positions] == []
    assert ok(server.alice.get("/joined_rooms")) == {"joined_rooms": []}


def test_an_alias_is_given_once(server: RoomServer) -> None:
    room_id = server.alice.create_room(room_alias_name="lobby")
    answer = server.bob.post("/createRoom", {"room_alias_name": "lobby"})
    assert refused(answer) == (400, "M_ROOM_IN_USE")
    resolved = ok(server.bob.get("/directory/room/%23lobby:a.example"))
    assert resolved == {"room_id": room_id, "servers": ["a.example"]}


def test_the_alias_may_stand_in_the_initial_state_too(server: RoomServer) -> None:
    content = {"alias": "#lobby:a.example", "alt_aliases": ["#lobby:a.example"]}
    room_id = server.alice.create_room(
        room_alias_name="lobby", initial_state=[{"type": "m.room.canonical_alias", "content": content}]
    )
    assert server.content(room_id, "m.room.canonical_alias") == content


def test_invites_that_are_not_wanted_are_refused(server: RoomServer) -> None:
    content = b'{"default_action": "block"}'
    record = AccountData(server.bob.requester.user, GLOBAL, "m.invite_permission_config", content, index=1)
    server.write(record, positions=1)
    assert refused(server.alice.post("/createRoom", {"invite": [BOB]})) == (403, "M_INVITE_BLOCKED")
    server.alice.create_room(invite=[CAROL])


def test_suspended_users_create_no_rooms(server: RoomServer) -> None:
    assert refused(server.sam.post("/createRoom")) == (403, "M_USER_SUSPENDED")


def test_invitations_count_against_their_limits(database: Database) -> None:
    class Counted(NoLimits):
        def __init__(self) -> None:
            self.counts: list[tuple[str, str]] = []

        def count(self, name: str, who: str) -> None:
            self.counts.append((name, who))
            if len(self.counts) > 4:
                raise LimitExceeded(retry_after_ms=1000)

    limits = Counted()
    with room_server(database, limits=limits) as server:
        server.alice.create_room(invite=[BOB, CAROL])
        assert limits.counts == [
            ("rc_invites.per_issuer", ALICE),
            ("rc_invites.per_user", BOB),
            ("rc_invites.per_issuer", ALICE),
            ("rc_invites.per_user", CAROL),
        ]
        assert refused(server.alice.post("/createRoom", {"invite": [BOB]})) == (429, "M_LIMIT_EXCEEDED")
