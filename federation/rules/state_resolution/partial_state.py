# SPDX-License-Identifier: Apache-2.0
"""The state that a resolution builds up, and what it allows."""

from __future__ import annotations

from collections.abc import Mapping

from federation.rules.auth.rules import check_auth
from federation.rules.errors import AuthRefused
from federation.rules.room_versions import RoomVersion
from federation.rules.state_resolution.auth_events import AuthEvents
from federation.rules.state_resolution.conflict import CREATE, JOIN_RULES, POWER_LEVELS, Key
from storage.event import Event


class PartialState:
    """State events by key, which one event after the other is put to.

    As an `AuthState` it gives the facts by which the event at hand is judged: those of the state, and for
    keys that it lacks those of the event's own auth events, as far as these were not rejected.
    """

    def __init__(
        self, initial: Mapping[Key, Event], *, version: RoomVersion, auth_events: AuthEvents
    ) -> None:
        self._initial = initial
        self._changes: dict[Key, Event] = {}
        self._version = version
        self._auth_events = auth_events
        self._judged: Event | None = None

    def events(self) -> dict[Key, Event]:
        """The state now."""
        return {**self._initial, **self._changes}

    def put(self, key: Key, event: Event) -> None:
        """Take a state event in."""
        self._changes[key] = event

    def apply(self, event: Event) -> bool:
        """Take the event in if it is a state event and the authorisation rules allow it; whether they did."""
        if event.state_key is None or not self.allows(event):
            return False
        self.put((event.type, event.state_key), event)
        return True

    def allows(self, event: Event) -> bool:
        """Whether the authorisation rules allow the event here.

        Its signatures, that of `join_authorised_via_users_server` among them, were checked on receipt.
        """
        self._judged = event
        create = self.create
        levels = None if create is None else self._auth_events.levels(create, self.power_levels)
        try:
            check_auth(event, self, self._version, power_levels=levels, join_authoriser_signed=True)
        except AuthRefused:
            return False
        return True

    def _fact(self, key: Key) -> Event | None:
        found = self._changes.get(key) or self._initial.get(key)
        if found is None and self._judged is not None:
            found = self._auth_events.accepted(self._judged, key)
        return found

    @property
    def create(self) -> Event | None:
        """The `m.room.create` event."""
        return self._fact(CREATE)

    @property
    def power_levels(self) -> Event | None:
        """The `m.room.power_levels` event."""
        return self._fact(POWER_LEVELS)

    @property
    def join_rules(self) -> Event | None:
        """The `m.room.join_rules` event."""
        return self._fact(JOIN_RULES)

    def membership(self, user_id: str) -> str | None:
        """The `membership` of the user's member event; None where there is no such event."""
        member = self._fact(("m.room.member", user_id))
        membership = None if member is None else member.content.get("membership")
        return membership if isinstance(membership, str) else None

    def third_party_invite(self, token: str) -> Event | None:
        """The `m.room.third_party_invite` event whose state key is `token`."""
        return self._fact(("m.room.third_party_invite", token))
