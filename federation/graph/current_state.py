# SPDX-License-Identifier: Apache-2.0
"""The current state of a hot room: small entries by key, and the few whole events that the rules read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any, NamedTuple

from federation.rules.auth.power_levels import PowerLevels
from federation.rules.room_versions import RoomVersion
from storage.event import Event

Key = tuple[str, str]


class StateEntry(NamedTuple):
    """The value of a state key: its event's number and id, and the membership if it is an `m.room.member`."""

    number: int
    event_id: str
    membership: str | None = None

    @classmethod
    def of(cls, event: Event, number: int) -> StateEntry:
        """The accepted state event as the value of its key."""
        membership = membership_of(event.content) if event.type == "m.room.member" else None
        return cls(number, event.event_id, membership)


class CurrentState:
    """The facts that the authorisation rules ask for (`AuthState`), and the value of every key.

    Whole events are kept of `m.room.create`, `m.room.power_levels`, `m.room.join_rules`,
    `m.room.history_visibility` and `m.room.third_party_invite`; of members only the membership.
    """

    def __init__(self, version: RoomVersion) -> None:
        self.version = version
        self._entries: dict[Key, StateEntry] = {}
        self._memberships: dict[str, str] = {}
        self._events: dict[Key, Event] = {}
        self._power: PowerLevels | None = None
        self._numbers: set[int] | None = None

    @classmethod
    def of(
        cls,
        version: RoomVersion,
        entries: Mapping[Key, StateEntry],
        memberships: Mapping[str, str],
        events: Iterable[Event],
    ) -> CurrentState:
        """The state with these entries; `events` are the values of the keys that `keeps_event` names."""
        state = cls(version)
        state._entries = dict(entries)
        state._memberships = dict(memberships)
        state._events = {(e.type, e.state_key): e for e in events if e.state_key is not None}
        return state

    @staticmethod
    def keeps_event(event_type: str, state_key: str) -> bool:
        """Whether the whole event of this key is kept."""
        return event_type == "m.room.third_party_invite" or (event_type in _KEPT and state_key == "")

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def get(self, event_type: str, state_key: str = "") -> StateEntry | None:
        """The value of a key, or None."""
        return self._entries.get((event_type, state_key))

    def keys(self) -> Iterable[Key]:
        """All keys that have a value."""
        return self._entries.keys()

    @property
    def entries(self) -> Mapping[Key, StateEntry]:
        """The value of every key."""
        return self._entries

    @property
    def numbers(self) -> Set[int]:
        """The numbers of all values. Whoever asks for it pays for it from then on."""
        if self._numbers is None:
            self._numbers = {entry.number for entry in self._entries.values()}
        return self._numbers

    @property
    def memberships(self) -> Mapping[str, str]:
        """The membership of every user who has a member event."""
        return self._memberships

    @property
    def create(self) -> Event | None:
        """The `m.room.create` event."""
        return self._events.get(("m.room.create", ""))

    @property
    def power_levels(self) -> Event | None:
        """The `m.room.power_levels` event."""
        return self._events.get(("m.room.power_levels", ""))

    @property
    def join_rules(self) -> Event | None:
        """The `m.room.join_rules` event."""
        return self._events.get(("m.room.join_rules", ""))

    @property
    def history_visibility(self) -> str:
        """`content.history_visibility`; "shared" where it is not set."""
        event = self._events.get(("m.room.history_visibility", ""))
        value = None if event is None else event.content.get("history_visibility")
        return value if isinstance(value, str) else "shared"

    def membership(self, user_id: str) -> str | None:
        """The user's membership; None without a member event."""
        return self._memberships.get(user_id)

    def third_party_invite(self, token: str) -> Event | None:
        """The `m.room.third_party_invite` event of this token."""
        return self._events.get(("m.room.third_party_invite", token))

    @property
    def power(self) -> PowerLevels:
        """The power levels in force, read once from the events."""
        if self._power is None:
            assert self.create is not None, "a room begins with its create event"
            self._power = PowerLevels.of(self.create, self.power_levels, self.version)
        return self._power

    def event(self, key: Key) -> Event | None:
        """The whole event of a key that `keeps_event` names."""
        return self._events.get(key)

    def apply(self, event: Event, number: int) -> StateEntry | None:
        """The state event becomes the value of its key; returns the value before."""
        assert event.state_key is not None
        return self.change((event.type, event.state_key), StateEntry.of(event, number), event)

    def change(self, key: Key, value: StateEntry | None, event: Event | None) -> StateEntry | None:
        """The key takes another value, None: it is removed; returns the value before.

        `event` is the event of the new value, needed for the keys that `keeps_event` names.
        """
        before = self._entries.get(key)
        if value is None:
            self._entries.pop(key, None)
            self._memberships.pop(key[1], None) if key[0] == "m.room.member" else self._events.pop(key, None)
        else:
            self._entries[key] = value
            if value.membership is not None:
                self._memberships[key[1]] = value.membership
            elif self.keeps_event(*key):
                assert event is not None, "the room's memory keeps this event"
                self._events[key] = event
        if key[0] in _POWER:
            self._power = None
        if self._numbers is not None:
            if before is not None:
                self._numbers.discard(before.number)
            if value is not None:
                self._numbers.add(value.number)
        return before


_KEPT = frozenset({"m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility"})
_POWER = frozenset({"m.room.create", "m.room.power_levels"})


def membership_of(content: Mapping[str, Any]) -> str:
    """The membership that the content of an accepted member event gives."""
    return str(content["membership"])
