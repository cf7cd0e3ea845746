# SPDX-License-Identifier: Apache-2.0
"""Random rooms: graphs of signed events with forks, conflicts, and events that are refused.

A room grows from a list of `Step`s, small integers that each make one event of whatever room there is by
then. So steps can be left out or changed and still make a room, which lets hypothesis shrink it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

import attrs
from hypothesis import strategies as st

from federation.rules.auth.selection import auth_event_keys
from federation.rules.base64 import encode_base64
from federation.rules.canonical_json import decode_json
from federation.rules.hashing import reference_hash
from federation.rules.identifiers import server_of
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from federation.rules.signing import build_event, countersign_event, join_authoriser_server, sign_json
from storage.event import Event
from tests.reference.resolver import POWER_LEVELS
from tests.reference.room import NaiveRoom, State
from tests.support.rooms import signing_key

USERS = ("@alice:a.example", "@bob:b.example", "@carl:c.example", "@dora:a.example", "@eve:b.example")
CREATOR = USERS[0]
JOIN_RULES = ("public", "invite", "knock", "restricted", "knock_restricted")
LEVELS = (0, 50, 100, 1)
TOKENS = ("token0", "token1")

_START = 1_700_000_000_000  # milliseconds
_IDENTITY_SERVER = "id.example"


class Step(NamedTuple):
    """What decides about one event; every number may be any.

    - `sender`, `target`: users; `action`: what the one does (to the other); `value`: the action's argument
    - `parents`: places in the list of events to follow on, first the extremities, latest first, then others
    - `time`: how its `origin_server_ts` lies to that of its neighbours
    - `fault`: 0 for none, else what is wrong with it (see `Fault`)
    """

    sender: int = 0
    action: int = 0
    target: int = 0
    value: int = 0
    parents: tuple[int, ...] = (0,)
    time: int = 0
    fault: int = 0


class Fault:
    """What may be wrong with an event. It may turn out to be allowed all the same."""

    NONE = 0
    FORCED = 1  # sent whatever the state before it says
    STALE = 2  # allowed by the state before another event, whose auth events it takes
    MIXED = 3  # one auth event is of another branch
    EXTRA = 4  # an auth event more than the selection names
    MISSING = 5  # an auth event less
    AFTER_REFUSED = 6  # follows on a rejected event, too
    DEPTH = 7  # a depth that is not true
    COUNT = 8


@attrs.frozen
class RandomRoom:
    """A random room: its events, each after its prev events and its auth events, and what became of them.

    `steps` made it: `grow(version, steps)` makes it again.
    """

    version: RoomVersion = attrs.field(repr=lambda version: f"ROOM_VERSIONS[{version.identifier!r}]")
    steps: tuple[Step, ...]
    events: tuple[Event, ...] = attrs.field(repr=False)
    naive: NaiveRoom = attrs.field(repr=False)


@attrs.frozen
class _Draft:
    """A possible event."""

    sender: str
    type: str
    content: Mapping[str, Any]
    state_key: str | None = None
    redacts: str | None = None


def grow(version: RoomVersion, steps: Sequence[Step]) -> RandomRoom:
    """The room that the steps make."""
    growth = _Growth(version)
    for step in steps:
        growth.add(step)
    return RandomRoom(version, tuple(steps), tuple(growth.events), growth.naive)


class _Growth:
    """A room in the making. It begins with its creator, power levels, join rules, and one more member."""

    def __init__(self, version: RoomVersion) -> None:
        self.version = version
        self.naive = NaiveRoom(version)
        self.events: list[Event] = []
        self.tips: list[Event] = []
        own = {"creator": CREATOR} if version.creator_in_content else {}
        self._chain(_Draft(CREATOR, "m.room.create", {"room_version": version.identifier, **own}, ""))
        self._chain(_Draft(CREATOR, "m.room.member", {"membership": "join"}, CREATOR))
        users = {USERS[1]: 50} | ({} if version.creators_have_infinite_power else {CREATOR: 100})
        levels = {"users": users, "events": {"m.room.name": 0, "m.room.aliases": 0}}
        self._chain(_Draft(CREATOR, "m.room.power_levels", levels, ""))
        self._chain(_Draft(CREATOR, "m.room.join_rules", {"join_rule": "public"}, ""))
        self._chain(_Draft(USERS[1], "m.room.member", {"membership": "join"}, USERS[1]))

    def _chain(self, draft: _Draft) -> None:
        before = self.naive.after[self.events[-1].event_id] if self.events else {}
        self._append(self._event(draft, self.events[-1:], before, len(self.events)))

    def add(self, step: Step) -> None:
        """Add one event."""
        parents = self._parents(step)
        before = self.naive.resolved(parent.event_id for parent in parents)
        fault = step.fault % Fault.COUNT
        other = self._other_state(step)
        time = len(self.events) // 3 + (0, 0, -2, 3)[step.time % 4]
        if fault == Fault.STALE:
            event = self._first_allowed(step, parents, other, other, time)
        elif fault == Fault.MIXED:
            mixed = {**before, **dict(list(other.items())[step.value % max(len(other), 1) :][:1])}
            event = self._first_allowed(step, parents, before, mixed, time)
        elif fault == Fault.FORCED:
            event = self._event(next(self._drafts(step, before)), parents, before, time)
        else:
            event = self._first_allowed(step, parents, before, before, time)
        self._append(event)

    def _parents(self, step: Step) -> list[Event]:
        """Up to three events to follow on."""
        accepted = [e for e in self.events if e.event_id not in self.naive.rejected]
        others = [e for e in reversed(accepted) if e not in self.tips]
        choice = [*reversed(self.tips), *others]
        parents = {(place % len(choice)): choice[place % len(choice)] for place in step.parents[:3] or (0,)}
        found = list(parents.values())
        if step.fault % Fault.COUNT == Fault.AFTER_REFUSED and self.naive.rejected:
            refused = [e for e in self.events if e.event_id in self.naive.rejected]
            found.append(refused[step.value % len(refused)])
        return found

    def _other_state(self, step: Step) -> State:
        """The state before some recent event."""
        event = self.events[-1 - step.value % min(len(self.events), 12)]
        return self.naive.before[event.event_id]

    def _first_allowed(
        self, step: Step, parents: Sequence[Event], state: State, cited: State, time: int
    ) -> Event:
        """The first of the possible events that `state` allows; where it allows none, the first of all."""
        first: Event | None = None
        for draft in self._drafts(step, state):
            event = self._event(draft, parents, cited, time, step)
            if self.naive.refusal(event, state) is None:
                return event
            first = first or event
        assert first is not None
        return first

    def _drafts(self, step: Step, state: State) -> Iterator[_Draft]:
        """What the step's user may want to do, then others, then what the creator may."""
        for shift in range(len(USERS)):
            sender = USERS[(step.sender + shift) % len(USERS)]
            target = USERS[(step.target + shift) % len(USERS)]
            for turn in (0, 1, 2):
                action = _ACTIONS[(step.action + turn) % len(_ACTIONS)]
                yield from action(self, sender, target, step.value, state)
            yield _message(sender, step.value)

    def _event(
        self, draft: _Draft, parents: Sequence[Event], state: State, time: int, step: Step | None = None
    ) -> Event:
        fault = 0 if step is None else step.fault % Fault.COUNT
        value = 0 if step is None else step.value
        keys = auth_event_keys(draft.type, draft.state_key, draft.sender, draft.content, self.version)
        cited = [state[key] for key in keys if key in state]
        if fault == Fault.EXTRA:
            cited.append(list(state.values())[value % len(state)])
        elif fault == Fault.MISSING and cited:
            del cited[value % len(cited)]
        depth = 1 + max((parent.depth for parent in parents), default=0)
        if fault == Fault.DEPTH:
            depth = (1, depth + 5, depth - 1)[value % 3]
        fields: dict[str, Any] = {
            "type": draft.type,
            "sender": draft.sender,
            "content": dict(draft.content),
            "origin_server_ts": _START + 1000 * time,
            "depth": depth,
            "prev_events": [parent.event_id for parent in parents],
            "auth_events": cited,
        }
        if self.events:
            fields["room_id"] = self.events[0].room_id
        elif not self.version.room_id_is_create_hash:
            fields["room_id"] = f"!room:{server_of(CREATOR)}"
        if draft.state_key is not None:
            fields["state_key"] = draft.state_key
        if draft.redacts is not None:
            if self.version.redacts_in_content:
                fields["content"]["redacts"] = draft.redacts
            else:
                fields["redacts"] = draft.redacts
        return self._signed(fields, [*(parent.event_id for parent in parents), *cited])

    def _signed(self, fields: dict[str, Any], references: Sequence[str]) -> Event:
        server = server_of(fields["sender"])
        hashes: dict[str, bytes] = {}
        if self.version.references_have_hashes:
            hashes = {e: _reference_hash(self.naive.events[e], self.version) for e in references}
        event = build_event(
            fields,
            self.version,
            server,
            signing_key(server),
            reference_hashes=hashes,
            opaque_id=f"e{len(self.events)}",
        )
        authoriser = join_authoriser_server(event, self.version)
        if authoriser is not None and authoriser != server:
            event = countersign_event(event, authoriser, signing_key(authoriser), self.version)
        return event

    def _append(self, event: Event) -> None:
        if event.event_id in self.naive.events:  # the same again
            return
        self.naive.place(event)
        self.events.append(event)
        if event.event_id not in self.naive.rejected:
            self.tips = [tip for tip in self.tips if tip.event_id not in event.prev_events]
            self.tips.append(event)


def _reference_hash(event: Event, version: RoomVersion) -> bytes:
    return reference_hash(decode_json(event.json), version)


# What a user can do. Each gives the drafts that come into question.

_Action = Callable[[_Growth, str, str, int, State], Iterator[_Draft]]


def _message(sender: str, value: int) -> _Draft:
    return _Draft(sender, "m.room.message", {"msgtype": "m.text", "body": f"{value % 8}"})


def _talk(growth: _Growth, sender: str, target: str, value: int, state: State) -> Iterator[_Draft]:
    yield _message(sender, value)


def _name(growth: _Growth, sender: str, target: str, value: int, state: State) -> Iterator[_Draft]:
    yield _Draft(sender, "m.room.name", {"name": f"{value % 4}"}, "")


def _topic(growth: _Growth, sender: str, target: str, value: int, state: State) -> Iterator[_Draft]:
    yield _Draft(sender, "m.room.topic", {"topic": f"{value % 4}"}, "")


def _member(sender: str, target: str, membership: str, **content: Any) -> _Draft:
    return _Draft(sender, "m.room.member", {"membership": membership, **content}, target)


def _join(growth: _Growth, sender: str, target: str, value: int, state: State) -> Iterator[_Draft]:
    yield _member(sender, sender, "join", **({"displayname": f"{value % 3}"} if value % 2 else {}))
    if growth.version.restricted:
        yield _member(sender, sender, "join", join_authorised_via_users_server=target)
    if growth.version.knock:
        yield _member(sender, sender, "knock")


def _leave(growth: _Growth, sender: str, target: str, value: int, state: State) -> Iterator[_Draft]:
    yield _member(sender, sender, "leave")


def _invite(growth: _Growth, sender: str, target: str, value: int, state: State) -> Iterator[_Draft]:
    token = TOKENS[value % len(TOKENS)]
    if ("m.room.third_party_invite", token) in state and value % 3:
        signed = sign_json({"mxid": target, "token": token}, _IDENTITY_SERVER, signing_key(_IDENTITY_SERVER))
        yield _member(sender, target, "invite", third_party_invite={"display_name": "x", "signed": signed})
    yield _member(sender, target, "invite")


def _third_party_invite(
    growth: _Growth, sender: str, target: str, value: int, state: State
) -> Iterator[_Draft]:
    key = encode_base64(signing_key(_IDENTITY_SERVER).verify_key)
    content = {"display_name": "x", "key_validity_url": "https://id.example/valid", "public_key": key}
    yield _Draft(sender, "m.room.third_party_invite", content, TOKENS[value % len(TOKENS)])


def _kick(growth: _Growth, sender: str, target: str, value: int, state: State) -> Iterator[_Draft]:
    if target != sender:
        yield _member(sender, target, "leave")


def _ban(growth: _Growth, sender: str, target: str, value: int, state: State) -> Iterator[_Draft]:
    if target != sender:
        yield _member(sender, target, "ban")


def _power_levels(growth: _Growth, sender: str, target: str, value: int, state: State) -> Iterator[_Draft]:
    current = growth.naive.events[state[POWER_LEVELS]].content if POWER_LEVELS in state else {}
    level = LEVELS[value % len(LEVELS)]
    users = {**current.get("users", {}), target: level}
    yield _Draft(sender, "m.room.power_levels", {**current, "users": users}, "")
    events = {**current.get("events", {}), "m.room.topic": level}
    yield _Draft(sender, "m.room.power_levels", {**current, "events": events}, "")


def _join_rules(growth: _Growth, sender: str, target: str, value: int, state: State) -> Iterator[_Draft]:
    known = [
        rule
        for rule, exists in zip(
            JOIN_RULES,
            (True, True, growth.version.knock, growth.version.restricted, growth.version.knock_restricted),
            strict=True,
        )
        if exists
    ]
    yield _Draft(sender, "m.room.join_rules", {"join_rule": known[value % len(known)]}, "")


def _redact(growth: _Growth, sender: str, target: str, value: int, state: State) -> Iterator[_Draft]:
    event = growth.events[-1 - value % len(growth.events)]
    yield _Draft(sender, "m.room.redaction", {}, redacts=event.event_id)


def _aliases(growth: _Growth, sender: str, target: str, value: int, state: State) -> Iterator[_Draft]:
    yield _Draft(sender, "m.room.aliases", {"aliases": [f"#{value % 4}:x"]}, server_of(sender))


_ACTIONS: Sequence[_Action] = (
    _talk,
    _name,
    _join,
    _ban,
    _power_levels,
    _topic,
    _kick,
    _invite,
    _join_rules,
    _leave,
    _name,
    _third_party_invite,
    _join,
    _redact,
    _aliases,
    _power_levels,
)

# Choosing steps. Most events follow on one or two of the latest, and have no fault.

_PARENTS = ((0,), (0,), (1,), (0,), (0, 1), (2,), (1, 2), (0, 1, 2), (3,), (0, 4), (6,))
_FAULTS = (0,) * 13 + tuple(range(1, Fault.COUNT))


def random_steps(random: Random, count: int) -> list[Step]:
    """`count` steps of a seeded source."""
    return [
        Step(
            sender=random.randrange(len(USERS)),
            action=random.randrange(len(_ACTIONS)),
            target=random.randrange(len(USERS)),
            value=random.randrange(12),
            parents=random.choice(_PARENTS),
            time=random.randrange(4),
            fault=random.choice(_FAULTS),
        )
        for _ in range(count)
    ]


def random_room(seed: int, version: RoomVersion | str, count: int) -> RandomRoom:
    """The room of `count` events besides its first ones that `seed` stands for."""
    chosen = ROOM_VERSIONS[version] if isinstance(version, str) else version
    return grow(chosen, random_steps(Random(seed), count))


steps: st.SearchStrategy[Step] = st.builds(
    Step,
    sender=st.integers(0, len(USERS) - 1),
    action=st.integers(0, len(_ACTIONS) - 1),
    target=st.integers(0, len(USERS) - 1),
    value=st.integers(0, 11),
    parents=st.sampled_from(_PARENTS),
    time=st.integers(0, 3),
    fault=st.sampled_from(_FAULTS),
)


@st.composite
def random_rooms(
    draw: st.DrawFn,
    versions: Sequence[RoomVersion] = tuple(ROOM_VERSIONS.values()),
    max_size: int = 40,
) -> RandomRoom:
    """Rooms of some version with up to `max_size` events besides their first ones.

    Left to itself hypothesis makes lists short; here a third of the rooms is full-sized.
    """
    version = draw(st.sampled_from(versions))
    size = draw(st.sampled_from((max_size // 5, max_size // 2, max_size)))
    return grow(version, draw(st.lists(steps, min_size=size, max_size=size)))


def valid_orders(room: RandomRoom, count: int, random: Random) -> list[list[list[Event]]]:
    """`count` orders in which the room's events may arrive, cut into batches.

    Each event comes after its prev events and its auth events. The first batch begins with the create event.
    """
    return [_batches(_order(room.events, random), random) for _ in range(count)]


def _order(events: Sequence[Event], random: Random) -> list[Event]:
    """A random topological order; at times of the kind that follows one branch for long."""
    latest_first = random.random() < 0.5
    waiting, placed = list(events), set[str]()
    order: list[Event] = []
    while waiting:
        ready = [e for e in waiting if placed.issuperset((*e.prev_events, *e.auth_events))]
        following = [e for e in ready if order and order[-1].event_id in e.prev_events]
        chosen = random.choice(following if following and latest_first else ready)
        waiting.remove(chosen)
        placed.add(chosen.event_id)
        order.append(chosen)
    return order


def _batches(order: Sequence[Event], random: Random) -> list[list[Event]]:
    batches: list[list[Event]] = []
    largest = random.choice((1, 3, 10, 50))
    rest = list(order)
    while rest:
        size = random.randint(1, largest)
        batches.append(rest[:size])
        rest = rest[size:]
    return batches
