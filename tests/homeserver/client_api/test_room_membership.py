# SPDX-License-Identifier: Apache-2.0
"""Joining, inviting, leaving, forgetting, kicking and banning, over HTTP, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from federation.errors import LimitExceeded
from homeserver.accounts.limits import NoLimits
from storage.account_data import GLOBAL, AccountData
from storage.engine.database import Database
from storage.memberships import Membership
from storage.profiles import ProfileField
from tests.support.reactor import in_reactor
from tests.support.room_server import RoomServer, User, ok, refused, room_server

ALICE = "@alice:a.example"
BOB = "@bob:a.example"
CAROL = "@carol:a.example"
UNKNOWN_ROOM = "!" + "A" * 43
FORBIDDEN = (403, "M_FORBIDDEN")


@pytest.fixture
def server(database: Database) -> Iterator[RoomServer]:
    with room_server(database) as running:
        yield running


def membership_of(server: RoomServer, room_id: str, user: User) -> str | None:
    """The membership that the room's state gives; checks that the user's own row says the same."""
    content = server.content(room_id, "m.room.member", user.id)
    row = row_of(server, room_id, user)
    in_state = None if content is None else content["membership"]
    assert (None if row is None else row.membership) == in_state
    if row is not None:
        assert row.event == server.state(room_id)["m.room.member", user.id].number
    return in_state


def row_of(server: RoomServer, room_id: str, user: User) -> Membership | None:
    """The user's row, as it is on disk and in the feed."""
    ground = server.parts.ground  # asked for here, it is up to date

    async def read() -> tuple[dict[int, Membership], dict[int, Membership], int]:
        storage = ground.storage
        stored = {m.room: m for m in await storage.memberships.of_account(user.requester.user)}
        kept = dict(await ground.feed.user_rooms.of_account(user.requester.user))
        return stored, kept, (await storage.strings.find([room_id]))[room_id]

    stored, kept, room = in_reactor(read())
    assert {k: v.membership for k, v in stored.items()} == {k: v.membership for k, v in kept.items()}
    assert {k: v.forgotten for k, v in stored.items()} == {k: v.forgotten for k, v in kept.items()}
    assert {k: v.position for k, v in stored.items()} == {k: v.position for k, v in kept.items()}
    return stored.get(room)


# Joining


def test_a_public_room_is_joined_by_id_and_by_alias(server: RoomServer) -> None:
    room_id = server.alice.create_room(preset="public_chat", room_alias_name="lobby")
    assert ok(server.bob.membership("join", room_id, reason="hello")) == {"room_id": room_id}
    assert ok(server.carol.post("/join/%23lobby:a.example?via=b.example&server_name=c.example")) == {
        "room_id": room_id
    }
    assert ok(server.dan.post(f"/join/{quote(room_id)}")) == {"room_id": room_id}
    assert server.content(room_id, "m.room.member", BOB) == {"membership": "join", "reason": "hello"}
    assert [membership_of(server, room_id, u) for u in (server.bob, server.carol, server.dan)] == ["join"] * 3
    assert ok(server.bob.get("/joined_rooms")) == {"joined_rooms": [room_id]}


def test_a_second_join_changes_nothing(server: RoomServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    ok(server.bob.membership("join", room_id))
    before = len(server.events(room_id))
    assert ok(server.bob.membership("join", room_id, reason="again")) == {"room_id": room_id}
    assert len(server.events(room_id)) == before


def test_a_private_room_is_joined_by_invitation_only(server: RoomServer) -> None:
    room_id = server.alice.create_room()
    uninvited = server.bob.membership("join", room_id)
    unknown = server.bob.membership("join", UNKNOWN_ROOM)
    assert refused(uninvited) == refused(unknown) == FORBIDDEN
    assert uninvited.json == unknown.json
    server.write(ProfileField(server.bob.requester.user, "displayname", "Bob"))
    ok(server.alice.membership("invite", room_id, user_id=BOB, reason="come in"))
    assert server.content(room_id, "m.room.member", BOB) == {
        "membership": "invite",
        "displayname": "Bob",
        "reason": "come in",
    }
    assert membership_of(server, room_id, server.bob) == "invite"
    ok(server.bob.membership("join", room_id))
    assert server.content(room_id, "m.room.member", BOB) == {"membership": "join", "displayname": "Bob"}


@pytest.mark.parametrize("version", ["11", "12"])
@pytest.mark.parametrize("rule", ["restricted", "knock_restricted"])
def test_a_restricted_room_is_joined_from_one_of_the_named_rooms(
    server: RoomServer, version: str, rule: str
) -> None:
    lobby = server.alice.create_room(preset="public_chat")
    rules: dict[str, Any] = {
        "join_rule": rule,
        "allow": [
            {"type": "m.room_membership", "room_id": UNKNOWN_ROOM},
            {"type": "org.example", "room_id": lobby},
            "nonsense",
            {"type": "m.room_membership", "room_id": 5},
            {"type": "m.room_membership", "room_id": lobby},
        ],
    }
    room_id = server.alice.create_room(
        room_version=version, initial_state=[{"type": "m.room.join_rules", "content": rules}]
    )
    assert refused(server.bob.membership("join", room_id)) == FORBIDDEN
    ok(server.bob.membership("join", lobby))
    ok(server.bob.membership("join", room_id))
    content = server.content(room_id, "m.room.member", BOB)
    assert content == {"membership": "join", "join_authorised_via_users_server": ALICE}
    # Those who are invited need no condition.
    ok(server.alice.membership("invite", room_id, user_id=CAROL))
    ok(server.carol.membership("join", room_id))
    assert server.content(room_id, "m.room.member", CAROL) == {"membership": "join"}
    # Whoever has left the named room cannot come back by it.
    ok(server.bob.membership("leave", room_id))
    ok(server.bob.membership("leave", lobby))
    assert refused(server.bob.membership("join", room_id)) == FORBIDDEN


def test_a_restricted_join_needs_a_member_who_may_invite(server: RoomServer) -> None:
    lobby = server.alice.create_room(preset="public_chat")
    allow = [{"type": "m.room_membership", "room_id": lobby}]
    room_id = server.alice.create_room(
        room_version="11",
        power_level_content_override={"invite": 50},
        initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}],
    )
    for user in (server.bob, server.carol):
        ok(user.membership("join", lobby))
    ok(server.alice.membership("invite", room_id, user_id=BOB))
    ok(server.bob.membership("join", room_id))
    levels = dict(server.content(room_id, "m.room.power_levels") or {})
    ok(server.alice.membership("leave", room_id))
    assert refused(server.carol.membership("join", room_id)) == FORBIDDEN
    assert levels["invite"] == 50


def test_anybody_authorises_a_restricted_join_where_anybody_invites(server: RoomServer) -> None:
    lobby = server.alice.create_room(preset="public_chat")
    allow = [{"type": "m.room_membership", "room_id": lobby}]
    room_id = server.alice.create_room(
        initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}]
    )
    for user in (server.bob, server.carol):
        ok(user.membership("join", lobby))
    ok(server.bob.membership("join", room_id))
    ok(server.alice.membership("leave", room_id))
    ok(server.carol.membership("join", room_id))
    content = server.content(room_id, "m.room.member", CAROL)
    assert content == {"membership": "join", "join_authorised_via_users_server": BOB}


JOINS_THAT_CANNOT_BE = [
    ("/join/lobby", {}, (400, "M_INVALID_PARAM")),
    ("/join/%23lobby", {}, (400, "M_INVALID_PARAM")),
    ("/join/%23nowhere:a.example", {}, (404, "M_NOT_FOUND")),
    ("/join/%23lobby:b.example", {}, (404, "M_NOT_FOUND")),
    (f"/rooms/{UNKNOWN_ROOM}/join", {"reason": 5}, (400, "M_BAD_JSON")),
    (f"/rooms/{UNKNOWN_ROOM}/join", {"third_party_signed": {"sender": BOB}}, (400, "M_MISSING_PARAM")),
    (
        f"/rooms/{UNKNOWN_ROOM}/join",
        {"third_party_signed": {"sender": ALICE, "mxid": BOB, "token": "t", "signatures": {}}},
        FORBIDDEN,
    ),
]


def test_joins_that_cannot_be(server: RoomServer) -> None:
    for path, body, error in JOINS_THAT_CANNOT_BE:
        assert (path, refused(server.bob.post(path, body))) == (path, error)


# Inviting


def test_who_may_not_invite(server: RoomServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")  # inviting takes 50
    stranger = server.bob.membership("invite", room_id, user_id=CAROL)
    unknown = server.bob.membership("invite", UNKNOWN_ROOM, user_id=CAROL)
    assert refused(stranger) == refused(unknown) == FORBIDDEN
    assert stranger.json == unknown.json
    ok(server.bob.membership("join", room_id))
    assert refused(server.bob.membership("invite", room_id, user_id=CAROL)) == FORBIDDEN
    assert membership_of(server, room_id, server.carol) is None


def test_an_invitation_is_given_once(server: RoomServer) -> None:
    room_id = server.alice.create_room()
    for _ in range(2):
        ok(server.alice.membership("invite", room_id, user_id=BOB))
    assert [e.event.state_key for e in server.events(room_id) if e.event.type == "m.room.member"] == [
        ALICE,
        BOB,
    ]
    ok(server.bob.membership("join", room_id))
    assert refused(server.alice.membership("invite", room_id, user_id=BOB)) == FORBIDDEN
    ok(server.alice.membership("ban", room_id, user_id=CAROL))
    assert refused(server.alice.membership("invite", room_id, user_id=CAROL)) == FORBIDDEN


INVITATIONS_THAT_CANNOT_BE = [
    ({}, (400, "M_MISSING_PARAM")),
    ({"user_id": "bob"}, (400, "M_INVALID_PARAM")),
    ({"user_id": "@" + "b" * 250 + ":a.example"}, (400, "M_INVALID_PARAM")),
    ({"user_id": "@bob:b.example"}, (400, "M_UNKNOWN")),
    ({"user_id": BOB, "reason": "x" * 70_000}, (413, "M_TOO_LARGE")),
    (
        {"id_server": "i.example", "id_access_token": "t", "medium": "email", "address": "bob@b.example"},
        FORBIDDEN,
    ),
]


def test_invitations_that_cannot_be(server: RoomServer) -> None:
    room_id = server.alice.create_room()
    for body, error in INVITATIONS_THAT_CANNOT_BE:
        answer = server.alice.membership("invite", room_id, **body)
        assert (str(body)[:80], refused(answer)) == (str(body)[:80], error)


def test_invites_that_are_not_wanted(server: RoomServer) -> None:
    room_id = server.alice.create_room()
    content = b'{"default_action": "block"}'
    record = AccountData(server.bob.requester.user, GLOBAL, "m.invite_permission_config", content, index=1)
    server.write(record, positions=1)
    blocked = (403, "M_INVITE_BLOCKED")
    assert refused(server.alice.membership("invite", room_id, user_id=BOB)) == blocked
    by_state = server.alice.set_state(room_id, "m.room.member", {"membership": "invite"}, BOB)
    assert refused(by_state) == blocked
    ok(server.alice.membership("invite", room_id, user_id=CAROL))


# Leaving and forgetting


def test_members_leave_and_the_invited_decline(server: RoomServer) -> None:
    room_id = server.alice.create_room(invite=[BOB, CAROL])
    ok(server.bob.membership("join", room_id))
    ok(server.bob.membership("leave", room_id, reason="enough"))
    ok(server.carol.membership("leave", room_id))
    assert server.content(room_id, "m.room.member", BOB) == {"membership": "leave", "reason": "enough"}
    assert [membership_of(server, room_id, u) for u in (server.bob, server.carol)] == ["leave", "leave"]
    assert ok(server.bob.get("/joined_rooms")) == {"joined_rooms": []}
    # Once more says nothing more: the answer to the first may have been lost.
    before = len(server.events(room_id))
    ok(server.bob.membership("leave", room_id, reason="again"))
    assert len(server.events(room_id)) == before
    never = server.dan.membership("leave", room_id)
    unknown = server.dan.membership("leave", UNKNOWN_ROOM)
    assert refused(never) == refused(unknown) == FORBIDDEN
    assert never.json == unknown.json
    # Out is out.
    assert refused(server.bob.membership("join", room_id)) == FORBIDDEN


def test_a_knock_is_retracted_and_denied(server: RoomServer) -> None:
    rules = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room_id = server.alice.create_room(initial_state=[rules])
    for user in (server.bob, server.carol):
        ok(user.set_state(room_id, "m.room.member", {"membership": "knock"}, user.id))
    assert membership_of(server, room_id, server.bob) == "knock"
    ok(server.bob.membership("leave", room_id))
    ok(server.alice.membership("kick", room_id, user_id=CAROL))
    assert [membership_of(server, room_id, u) for u in (server.bob, server.carol)] == ["leave", "leave"]


def test_a_room_is_forgotten_once_it_is_left(server: RoomServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    for stranger in (server.bob.membership("forget", room_id), server.bob.membership("forget", UNKNOWN_ROOM)):
        assert refused(stranger) == FORBIDDEN
    ok(server.bob.membership("join", room_id))
    assert refused(server.bob.membership("forget", room_id)) == (400, "M_UNKNOWN")
    ok(server.bob.membership("leave", room_id))
    left = row_of(server, room_id, server.bob)
    assert left is not None
    assert not left.forgotten
    ok(server.bob.membership("forget", room_id))
    forgotten = row_of(server, room_id, server.bob)
    assert forgotten is not None
    assert forgotten.forgotten
    assert (forgotten.membership, forgotten.event) == ("leave", left.event)
    assert forgotten.position == server.parts.feed.position == left.position + 1
    # A second time says nothing more; whoever comes back remembers.
    ok(server.bob.membership("forget", room_id))
    assert row_of(server, room_id, server.bob) == forgotten
    ok(server.bob.membership("join", room_id))
    back = row_of(server, room_id, server.bob)
    assert back is not None
    assert (back.membership, back.forgotten) == ("join", False)


def test_rooms_are_forgotten_at_once_where_the_server_says_so(database: Database) -> None:
    with room_server(database, forget_on_leave=True) as server:
        room_id = server.alice.create_room(preset="public_chat", invite=[CAROL])
        ok(server.bob.membership("join", room_id))
        ok(server.bob.membership("leave", room_id))
        ok(server.alice.membership("kick", room_id, user_id=CAROL))
        rows = [row_of(server, room_id, user) for user in (server.alice, server.bob, server.carol)]
        assert [row.forgotten for row in rows if row is not None] == [False, True, True]


# Kicking and banning


def test_a_kicked_user_may_come_back_and_a_banned_one_not(server: RoomServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    ok(server.bob.membership("join", room_id))
    ok(server.alice.membership("kick", room_id, user_id=BOB, reason="jokes"))
    assert server.content(room_id, "m.room.member", BOB) == {"membership": "leave", "reason": "jokes"}
    ok(server.bob.membership("join", room_id))
    ok(server.alice.membership("ban", room_id, user_id=BOB, reason="more jokes"))
    assert server.content(room_id, "m.room.member", BOB) == {"membership": "ban", "reason": "more jokes"}
    assert membership_of(server, room_id, server.bob) == "ban"
    before = len(server.events(room_id))
    ok(server.alice.membership("ban", room_id, user_id=BOB, reason="once more"))
    assert len(server.events(room_id)) == before
    assert refused(server.bob.membership("join", room_id)) == FORBIDDEN
    assert refused(server.bob.membership("leave", room_id)) == FORBIDDEN
    assert refused(server.alice.membership("kick", room_id, user_id=BOB)) == FORBIDDEN
    ok(server.alice.membership("unban", room_id, user_id=BOB))
    assert membership_of(server, room_id, server.bob) == "leave"
    ok(server.bob.membership("join", room_id))


def test_an_invitation_is_taken_back(server: RoomServer) -> None:
    room_id = server.alice.create_room(invite=[BOB])
    ok(server.alice.membership("kick", room_id, user_id=BOB))
    assert membership_of(server, room_id, server.bob) == "leave"


def test_moderation_takes_power_and_a_target(server: RoomServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    for verb in ("kick", "ban", "unban"):
        stranger = server.bob.membership(verb, room_id, user_id=ALICE)
        unknown = server.bob.membership(verb, UNKNOWN_ROOM, user_id=ALICE)
        assert refused(stranger) == refused(unknown) == FORBIDDEN
        assert stranger.json == unknown.json
    ok(server.bob.membership("join", room_id))
    ok(server.carol.membership("join", room_id))
    ok(server.alice.membership("ban", room_id, user_id="@dan:a.example"))
    for verb, target in (("kick", CAROL), ("ban", CAROL), ("unban", "@dan:a.example"), ("ban", ALICE)):
        assert refused(server.bob.membership(verb, room_id, user_id=target)) == FORBIDDEN
    assert refused(server.bob.membership("ban", room_id, user_id="@dan:a.example")) == FORBIDDEN
    assert refused(server.alice.membership("kick", room_id, user_id="@nobody:a.example")) == FORBIDDEN
    assert refused(server.alice.membership("unban", room_id, user_id=CAROL)) == (400, "M_BAD_STATE")
    assert refused(server.alice.membership("kick", room_id, user_id="carol")) == (400, "M_INVALID_PARAM")
    assert refused(server.alice.membership("ban", room_id)) == (400, "M_MISSING_PARAM")
    ok(server.alice.membership("ban", room_id, user_id="@spam:b.example"))


# m.room.member as any state event


def test_memberships_are_set_as_state_by_the_same_rules(server: RoomServer) -> None:
    room_id = server.alice.create_room()
    member = "m.room.member"
    assert refused(server.bob.set_state(room_id, member, {"membership": "join"}, BOB)) == FORBIDDEN
    ok(server.alice.set_state(room_id, member, {"membership": "invite"}, BOB))
    ok(server.bob.set_state(room_id, member, {"membership": "join", "displayname": "B"}, BOB))
    assert server.content(room_id, member, BOB) == {"membership": "join", "displayname": "B"}
    assert refused(server.alice.set_state(room_id, member, {"membership": "join"}, CAROL)) == FORBIDDEN
    assert refused(server.bob.set_state(room_id, member, {"membership": "ban"}, ALICE)) == FORBIDDEN
    ok(server.alice.set_state(room_id, member, {"membership": "ban", "reason": "r"}, BOB))
    assert membership_of(server, room_id, server.bob) == "ban"
    ok(server.alice.set_state(room_id, member, {"membership": "leave"}, BOB))
    ok(server.alice.set_state(room_id, member, {"membership": "leave"}, ALICE))
    assert [membership_of(server, room_id, u) for u in (server.alice, server.bob)] == ["leave", "leave"]
    assert refused(server.alice.set_state(room_id, member, {"membership": "leave"}, BOB)) == FORBIDDEN


def test_a_name_in_one_room_only(server: RoomServer) -> None:
    server.write(ProfileField(server.alice.requester.user, "displayname", "Alice"))
    room_id = server.alice.create_room(preset="public_chat")
    content = {"membership": "join", "displayname": "A."}
    first = ok(server.alice.set_state(room_id, "m.room.member", content, ALICE))["event_id"]
    assert server.content(room_id, "m.room.member", ALICE) == content
    assert ok(server.alice.set_state(room_id, "m.room.member", content, ALICE)) == {"event_id": first}
    # What the content leaves out comes from the profile.
    ok(server.alice.set_state(room_id, "m.room.member", {"membership": "join"}, ALICE))
    assert server.content(room_id, "m.room.member", ALICE) == {"membership": "join", "displayname": "Alice"}


def test_nobody_names_their_own_authoriser(server: RoomServer) -> None:
    allow: list[Any] = []
    rules = {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}
    room_id = server.alice.create_room(initial_state=[rules])
    content = {"membership": "join", "join_authorised_via_users_server": ALICE}
    assert refused(server.bob.set_state(room_id, "m.room.member", content, BOB)) == FORBIDDEN
    ok(server.alice.membership("invite", room_id, user_id=BOB))
    ok(server.bob.set_state(room_id, "m.room.member", content, BOB))
    assert server.content(room_id, "m.room.member", BOB) == {"membership": "join"}


MEMBER_EVENTS_THAT_CANNOT_BE = [
    ({}, BOB, (400, "M_BAD_JSON")),
    ({"membership": 5}, BOB, (400, "M_BAD_JSON")),
    ({"membership": "org.example"}, BOB, (400, "M_BAD_JSON")),
    ({"membership": "invite"}, "bob", (400, "M_INVALID_PARAM")),
    ({"membership": "ban"}, "", (400, "M_INVALID_PARAM")),
    ({"membership": "invite"}, "@bob:b.example", (400, "M_UNKNOWN")),
    ({"membership": "ban", "float": 0.5}, BOB, (400, "M_BAD_JSON")),
    ({"membership": "knock"}, BOB, FORBIDDEN),
    ({"membership": "join", "displayname": 5}, ALICE, (400, "M_BAD_JSON")),
    ({"membership": "join", "avatar_url": ["mxc://a.example/a"]}, ALICE, (400, "M_BAD_JSON")),
]


def test_member_events_that_cannot_be(server: RoomServer) -> None:
    room_id = server.alice.create_room()
    for content, state_key, error in MEMBER_EVENTS_THAT_CANNOT_BE:
        answer = server.alice.set_state(room_id, "m.room.member", content, state_key)
        assert (content, refused(answer)) == (content, error)


# Who may do what


def test_suspended_users_may_only_leave(server: RoomServer) -> None:
    room_id = server.alice.create_room(preset="public_chat", invite=["@sam:a.example"])
    suspended = (403, "M_USER_SUSPENDED")
    assert refused(server.sam.membership("join", room_id)) == suspended
    for verb in ("invite", "kick", "ban", "unban"):
        assert refused(server.sam.membership(verb, room_id, user_id=BOB)) == suspended
    for membership in ("join", "knock"):
        answer = server.sam.set_state(room_id, "m.room.member", {"membership": membership}, "@sam:a.example")
        assert refused(answer) == suspended
    ok(server.sam.membership("leave", room_id))
    ok(server.sam.membership("forget", room_id))


def test_joins_and_invitations_count_against_limits_of_the_room(database: Database) -> None:
    class Counted(NoLimits):
        counts: list[tuple[str, str]] = []  # noqa: RUF012

        def count(self, name: str, who: str) -> None:
            self.counts.append((name, who))
            if name == "rc_joins_per_room" and len(self.counts) > 4:
                raise LimitExceeded(retry_after_ms=1000)

    limits = Counted()
    with room_server(database, limits=limits) as server:
        room_id = server.alice.create_room(preset="public_chat")
        ok(server.alice.membership("invite", room_id, user_id=CAROL))
        ok(server.bob.membership("join", room_id))
        ok(server.bob.membership("join", room_id))
        assert limits.counts == [
            ("rc_invites.per_room", room_id),
            ("rc_invites.per_user", CAROL),
            ("rc_joins_per_room", room_id),
        ]
        dan = server.dan.set_state(room_id, "m.room.member", {"membership": "join"}, server.dan.id)
        assert refused(dan) == (429, "M_LIMIT_EXCEEDED")
        assert limits.counts[3:] == [("rc_joins.local", server.dan.id), ("rc_joins_per_room", room_id)]
