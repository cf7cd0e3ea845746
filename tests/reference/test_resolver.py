# SPDX-License-Identifier: Apache-2.0
"""The naive resolution in cases that are worked out by hand, definition by definition."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from hashlib import sha1
from typing import Any

import pytest

from federation.rules.auth.selection import auth_event_keys
from federation.rules.room_versions import ROOM_VERSIONS
from storage.event import Event
from tests.reference.resolver import (
    Key,
    Known,
    StateMap,
    auth_difference,
    conflicted_state_subgraph,
    conflicts_1,
    conflicts_2,
    is_power_event,
    iterative_auth_checks,
    mainline,
    mainline_ordering,
    mainline_position,
    naive_resolve,
    ordered_1,
    reverse_topological_power_ordering,
    sender_power_level,
)

ALICE, BOB, CARL, DORA = "@alice:a.example", "@bob:b.example", "@carl:c.example", "@dora:a.example"
NAME: Key = ("m.room.name", "")
POWER: Key = ("m.room.power_levels", "")
RULES: Key = ("m.room.join_rules", "")


def member_key(user: str) -> Key:
    return ("m.room.member", user)


class Sketch:
    """A room of events with speaking ids; `base` is its state once Alice, Bob and Carl are in it.

    Alice made it, Bob has level 50, Carl 0, and setting the name takes 0.
    """

    def __init__(self, version: str) -> None:
        self.version = ROOM_VERSIONS[version]
        infinite = self.version.creators_have_infinite_power
        self.room_id = "!create" if infinite else "!room:a.example"
        self.events: dict[str, Event] = {}
        self.clock = 0
        create = {"room_version": version, "creator": ALICE}
        state = self.put({}, "$create", ALICE, "m.room.create", create)
        state = self.member(state, "$alice", ALICE, ALICE, "join")
        self.users = {BOB: 50} if infinite else {ALICE: 100, BOB: 50}
        state = self.levels(state, "$levels", ALICE, {})
        state = self.put(state, "$public", ALICE, "m.room.join_rules", {"join_rule": "public"})
        state = self.member(state, "$bob", BOB, BOB, "join")
        self.base = self.member(state, "$carl", CARL, CARL, "join")

    def put(
        self,
        state: StateMap,
        event_id: str,
        sender: str,
        event_type: str,
        content: Mapping[str, Any],
        state_key: str = "",
        *,
        ts: int | None = None,
        auth_events: Collection[str] | None = None,
        depth: int | None = None,
    ) -> dict[Key, str]:
        """A state event after `state`; gives the state after it.

        Its auth events are those that `state` names, unless they are given.
        """
        self.clock += 10
        keys = auth_event_keys(event_type, state_key, sender, content, self.version)
        cited = [state[key] for key in keys if key in state] if auth_events is None else auth_events
        self.events[event_id] = Event(
            event_id=event_id,
            room_id=self.room_id,
            json=b"{}",
            type=event_type,
            sender=sender,
            state_key=state_key,
            content=content,
            origin_server_ts=self.clock if ts is None else ts,
            depth=len(self.events) if depth is None else depth,
            prev_events=("$create",) if event_id == "$alice" else ("$x",) if self.events else (),
            auth_events=tuple(cited),
            redacts=None,
        )
        return {**state, (event_type, state_key): event_id}

    def member(
        self, state: StateMap, event_id: str, sender: str, target: str, membership: str, **options: Any
    ) -> dict[Key, str]:
        content = {"membership": membership}
        return self.put(state, event_id, sender, "m.room.member", content, target, **options)

    def name(self, state: StateMap, event_id: str, sender: str, **options: Any) -> dict[Key, str]:
        return self.put(state, event_id, sender, "m.room.name", {"name": event_id}, **options)

    def levels(
        self, state: StateMap, event_id: str, sender: str, users: Mapping[str, int], **options: Any
    ) -> dict[Key, str]:
        content = {"users": {**self.users, **users}, "events": {"m.room.name": 0}}
        return self.put(state, event_id, sender, "m.room.power_levels", content, **options)

    def known(self, *rejected: str) -> Known:
        return Known(self.version, self.events, frozenset(rejected))

    def resolve(self, *states: StateMap, rejected: Collection[str] = (), algorithm: str | None = None) -> Any:
        return naive_resolve(self.version, states, self.events, rejected, algorithm=algorithm)


VERSIONS = ["11", "12"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("algorithm", ["1", "2", "2.1"])
def test_nothing_and_one_state_are_what_they_are(version: str, algorithm: str) -> None:
    room = Sketch(version)
    assert room.resolve(algorithm=algorithm) == {}
    assert room.resolve(room.base, algorithm=algorithm) == room.base
    assert room.resolve(room.base, dict(room.base), algorithm=algorithm) == room.base


def test_what_is_a_conflict() -> None:
    one = {NAME: "$a", RULES: "$r", POWER: "$p"}
    two = {NAME: "$b", RULES: "$r"}
    # Version 1: other ids for the key; a key that is in one state only is none.
    assert conflicts_1([one, two]) == ({RULES: "$r", POWER: "$p"}, {NAME: {"$a", "$b"}})
    # Version 2: what is not in every state with one value.
    assert conflicts_2([one, two]) == ({RULES: "$r"}, {"$a", "$b", "$p"})


def test_power_events() -> None:
    room = Sketch("11")
    room.member(room.base, "$kick", BOB, CARL, "leave")
    room.member(room.base, "$leave", CARL, CARL, "leave")
    room.member(room.base, "$ban", BOB, CARL, "ban")
    room.member(room.base, "$invite", BOB, DORA, "invite")
    room.name(room.base, "$name", BOB)
    power = {e for e in room.events if is_power_event(room.events[e])}
    assert power == {"$levels", "$public", "$kick", "$ban"}


def test_auth_chain_leaves_the_event_out() -> None:
    known = Sketch("11").known()
    assert known.auth_chain("$create") == set()
    assert known.auth_chain("$bob") == {"$create", "$levels", "$public", "$alice"}
    # In version 12 nothing cites the create event.
    assert Sketch("12").known().auth_chain("$bob") == {"$levels", "$public", "$alice"}


def test_auth_difference() -> None:
    room = Sketch("11")
    one = room.levels(room.base, "$levels2", ALICE, {CARL: 10})
    one = room.levels(one, "$levels3", ALICE, {CARL: 20})
    two = room.name(room.base, "$name", CARL)
    # Nothing in `one` cites $levels3, but $levels2 is in its chain and in no chain of `two`; $carl, which is
    # in both states, is cited by $name in `two` alone.
    assert auth_difference(room.known(), [one, two]) == {"$levels2", "$carl"}
    assert auth_difference(room.known(), [one]) == set()
    assert auth_difference(room.known(), []) == set()


def test_conflicted_state_subgraph() -> None:
    room = Sketch("12")
    state = room.levels(room.base, "$levels2", BOB, {})
    state = room.member(state, "$carl2", CARL, CARL, "join")
    state = room.name(state, "$name", CARL)
    # $name → $carl2 → $levels2 → $bob: what lies between, and nothing above or beside it.
    between = conflicted_state_subgraph(room.known(), frozenset({"$name", "$bob"}))
    assert between == {"$name", "$carl2", "$levels2", "$bob"}
    assert conflicted_state_subgraph(room.known(), frozenset({"$name"})) == {"$name"}


@pytest.mark.parametrize(
    ("version", "levels"),
    [("11", {"$alice": 100, "$levels": 100, "$carl": 0}), ("12", {"$alice": math.inf, "$carl": 0})],
)
def test_the_sender_s_level_is_that_of_the_auth_events(version: str, levels: Mapping[str, float]) -> None:
    room = Sketch(version)
    state = room.levels(room.base, "$levels2", ALICE, {CARL: 30})
    room.name(state, "$before", CARL, auth_events=["$create", "$carl", "$levels"])
    room.name(state, "$after", CARL)
    known = room.known()
    for event_id, level in {**levels, "$bob": 50, "$before": 0, "$after": 30}.items():
        assert sender_power_level(known, room.events[event_id]) == level


def test_reverse_topological_power_ordering() -> None:
    room = Sketch("11")
    ban = room.member(room.base, "$ban", BOB, CARL, "ban", ts=1)
    first = room.levels(room.base, "$a", ALICE, {}, ts=9)
    room.levels(first, "$b", BOB, {}, ts=8)
    room.put(room.base, "$d", BOB, "m.room.join_rules", {}, ts=1)
    room.put(room.base, "$c", BOB, "m.room.join_rules", {}, ts=1)
    room.name(ban, "$late", ALICE, ts=10, auth_events=["$create", "$ban"])
    # Alice's $a goes first. $ban, $c and $d are Bob's of one time, by id; after $ban, Alice's $late goes
    # before the rest of Bob's. $b is Bob's latest.
    ordered = reverse_topological_power_ordering(room.known(), ["$d", "$c", "$b", "$ban", "$a", "$late"])
    assert ordered == ["$a", "$ban", "$late", "$c", "$d", "$b"]


def test_the_topological_ordering_sees_paths_over_other_events() -> None:
    room = Sketch("11")
    state = room.levels(room.base, "$levels2", CARL, {})  # cites $carl
    room.put(state, "$rules", BOB, "m.room.join_rules", {}, auth_events=["$create", "$levels2", "$bob"])
    known = room.known()
    assert "$carl" not in room.events["$rules"].auth_events
    assert reverse_topological_power_ordering(known, ["$rules", "$carl"]) == ["$carl", "$rules"]


def test_mainline_ordering() -> None:
    room = Sketch("11")
    state2 = room.levels(room.base, "$levels2", ALICE, {})
    state3 = room.levels(state2, "$levels3", ALICE, {})
    side = room.levels(room.base, "$side", ALICE, {})
    room.name(state3, "$on3", CARL, ts=1)
    room.name(room.base, "$on1", CARL, ts=7)
    room.name(side, "$onside", CARL, ts=5)
    room.name(room.base, "$a", CARL, ts=5)
    room.name(room.base, "$none", CARL, ts=99, auth_events=["$create", "$carl"])
    known = room.known()
    line = mainline(known, "$levels3")
    assert line == ["$levels3", "$levels2", "$levels"]
    positions = {"$on3": 0, "$on1": 2, "$onside": 2, "$none": math.inf, "$levels3": 1, "$levels": math.inf}
    for event_id, position in positions.items():
        assert mainline_position(known, line, event_id) == position
    names = ["$on3", "$on1", "$onside", "$a", "$none"]
    assert mainline_ordering(known, "$levels3", names) == ["$none", "$a", "$onside", "$on1", "$on3"]
    # Based on no power levels at all, time and id decide.
    assert mainline_ordering(known, None, names) == ["$on3", "$a", "$onside", "$on1", "$none"]


@pytest.mark.parametrize("version", VERSIONS)
def test_iterative_auth_checks(version: str) -> None:
    room = Sketch(version)
    room.name(room.base, "$name", CARL)
    room.member(room.base, "$ban", BOB, CARL, "ban")
    # What the state lacks, the event's own auth events supply; unless they were rejected.
    assert iterative_auth_checks(room.known(), {}, ["$name"]) == {NAME: "$name"}
    assert iterative_auth_checks(room.known("$carl"), {}, ["$name"]) == {}
    # A rejected event is checked as any other.
    assert iterative_auth_checks(room.known("$name"), {}, ["$name"]) == {NAME: "$name"}
    # What the state has goes before the auth events; and each event sees those before it.
    banned = {member_key(CARL): "$ban"}
    assert iterative_auth_checks(room.known(), banned, ["$name"]) == banned
    assert iterative_auth_checks(room.known(), {}, ["$name", "$ban"]) == {**banned, NAME: "$name"}
    assert iterative_auth_checks(room.known(), {}, ["$ban", "$name"]) == banned
    # A rejected create event, which version 12 implies, makes no room.
    if version == "12":
        assert iterative_auth_checks(room.known("$create"), {}, ["$name"]) == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ban_against_what_the_banned_user_does(version: str) -> None:
    room = Sketch(version)
    ban = room.member(room.base, "$ban", BOB, CARL, "ban")
    name = room.name(room.base, "$name", CARL)
    # The ban is a power event: it comes first, and the name is refused after it.
    assert room.resolve(ban, name) == ban
    # In version 1 the name is in one state only, so no conflict; Carl is banned nevertheless, since the ban
    # is deeper than the join and allowed after it.
    assert room.resolve(ban, name, algorithm="1") == {**ban, NAME: "$name"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("depths", [(20, 21), (21, 20)])
@pytest.mark.parametrize("algorithm", ["1", "2", "2.1"])
def test_power_levels_that_are_changed_at_once(version: str, depths: tuple[int, int], algorithm: str) -> None:
    room = Sketch(version)
    promote = room.levels(room.base, "$promote", BOB, {CARL: 50}, depth=depths[0])
    demote = room.levels(room.base, "$demote", ALICE, {BOB: 0}, depth=depths[1])
    # Version 2: Alice's goes first by her level, and then Bob may not change levels any more.
    # Version 1: if Bob's is first by depth it stands until Alice's comes, which is allowed after it; if it is
    # second, it is refused.
    assert room.resolve(promote, demote, algorithm=algorithm) == demote
    assert room.resolve(demote, promote, algorithm=algorithm) == demote


@pytest.mark.parametrize("version", VERSIONS)
def test_a_later_mainline_wins_over_a_later_time(version: str) -> None:
    room = Sketch(version)
    one = room.levels(room.base, "$levels2", ALICE, {CARL: 20})
    one = room.name(one, "$early", CARL, ts=1)
    two = room.name(room.base, "$late", CARL, ts=10_000)
    # $late rests on $levels, further back on the mainline of $levels2: it comes first and is replaced.
    assert room.resolve(one, two) == one
    # On the same power levels time decides, then the id.
    three = room.name(room.base, "$b", CARL, ts=10_000)
    assert room.resolve(three, two) == two
    four = room.name(room.base, "$z", CARL, ts=10_000)
    assert room.resolve(four, two) == four


def test_the_mainline_of_unconflicted_power_levels() -> None:
    """Version 12 takes the power levels of a partial state that began empty."""
    room = Sketch("12")
    state = room.levels(room.base, "$levels2", ALICE, {CARL: 20})
    seen = room.member(state, "$dora", DORA, DORA, "join")
    stale = ["$levels", "$carl"]
    late, early = (
        room.name(seen, "$late", CARL, ts=9, auth_events=stale),
        room.name(seen, "$early", CARL, ts=1),
    )
    # Version 2: the mainline is that of $levels2; $early rests on it and comes last.
    assert room.resolve(early, late, algorithm="2") == early
    # 2.1: $levels2 is in all chains by Dora's join, so not in the full conflicted set; there is no mainline.
    assert room.resolve(early, late, algorithm="2.1") == late
    # Where only $early cites $levels2, it is in the auth difference, and makes the mainline.
    late, early = (
        room.name(state, "$late", CARL, ts=9, auth_events=stale),
        room.name(state, "$early", CARL, ts=1),
    )
    assert room.resolve(early, late, algorithm="2.1") == early


@pytest.mark.parametrize("version", VERSIONS)
def test_a_key_that_only_the_auth_difference_brings(version: str) -> None:
    room = Sketch(version)
    joined = room.member(room.base, "$dora", DORA, DORA, "join")
    named = room.name(joined, "$name", DORA)
    del named[member_key(DORA)]  # a state that somebody gave
    assert room.resolve(named, room.base) == {**room.base, NAME: "$name", member_key(DORA): "$dora"}


def test_the_unconflicted_state_wins_in_the_end() -> None:
    room = Sketch("11")
    again = room.member(
        room.base, "$carl2", CARL, CARL, "join", auth_events=["$create", "$levels", "$public"]
    )
    named = room.name(again, "$name", CARL, auth_events=["$create", "$levels", "$carl"])
    # $carl is in the auth difference and takes the place of $carl2, which both states have, until step 5.
    assert auth_difference(room.known(), [named, again]) == {"$carl"}
    assert room.resolve(named, again) == named


def test_an_empty_start_keeps_who_joined_under_older_join_rules() -> None:
    room = Sketch("12")
    joined = room.member(room.base, "$dora", DORA, DORA, "join")
    one = room.put(joined, "$invited", ALICE, "m.room.join_rules", {"join_rule": "invite"})
    two = {key: value for key, value in one.items() if key != member_key(DORA)}
    # Version 2 checks her join against the join rules of now; 2.1 against those that it cites.
    assert room.resolve(one, two, algorithm="2") == two
    assert room.resolve(one, two, algorithm="2.1") == one


@pytest.mark.parametrize("version", VERSIONS)
def test_a_kick_against_a_new_profile(version: str) -> None:
    room = Sketch(version)
    kicked = room.member(room.base, "$kick", BOB, CARL, "leave")
    renamed = room.member(room.base, "$carl2", CARL, CARL, "join")
    # The kick goes first as a power event; after it, the public room lets Carl in again.
    assert room.resolve(kicked, renamed) == renamed
    # Not so after a ban.
    banned = room.member(room.base, "$ban", BOB, CARL, "ban")
    assert room.resolve(banned, renamed) == banned


def test_version_1_orders_by_depth_and_hash() -> None:
    room = Sketch("11")
    low, high = sorted(["$x", "$y"], key=lambda e: sha1(e.encode()).digest())
    for event_id in (low, high):
        room.name(room.base, event_id, CARL, depth=30)
    room.name(room.base, "$deeper", CARL, depth=31)
    assert ordered_1(room.known(), ["$deeper", low, high]) == [high, low, "$deeper"]
    states = [{**room.base, NAME: name} for name in (low, high)]
    assert room.resolve(*states, algorithm="1") == {**room.base, NAME: low}
    states.append({**room.base, NAME: "$deeper"})
    assert room.resolve(*states, algorithm="1") == {**room.base, NAME: "$deeper"}


def test_version_1_stops_at_the_first_that_is_refused() -> None:
    room = Sketch("11")
    demote = room.levels(room.base, "$demote", ALICE, {BOB: 0}, depth=20)
    refused = room.levels(room.base, "$promote", BOB, {CARL: 50}, depth=21)
    later = room.levels(room.base, "$later", ALICE, {CARL: 1}, depth=22)
    assert room.resolve(demote, refused, later, algorithm="1") == demote


def test_version_1_takes_no_other_event_that_all_refuse() -> None:
    room = Sketch("11")
    ban = room.member(room.base, "$ban", BOB, CARL, "ban")
    states = [room.name(ban, "$x", CARL), room.name(ban, "$y", CARL)]
    assert room.resolve(*states, algorithm="1") == ban
    # The next lower one that passes is taken.
    states.append(room.name(ban, "$by-bob", BOB, depth=1))
    assert room.resolve(*states, algorithm="1") == {**ban, NAME: "$by-bob"}


def test_version_1_resets_state() -> None:
    """The least deep of the conflicting events is taken unasked, whatever it was allowed by."""
    room = Sketch("11")
    old = room.levels(room.base, "$old", BOB, {CARL: 40}, depth=18)
    new = room.levels(room.base, "$new", CARL, {CARL: 50}, depth=17)
    # Carl has no level for $new, but it is first; Bob may then not lower his equal by $old.
    assert room.resolve(old, new, algorithm="1") == new
    # Version 2 checks all of them.
    assert room.resolve(old, new, algorithm="2") == old
