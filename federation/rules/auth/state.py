# SPDX-License-Identifier: Apache-2.0
"""The facts of a room's state that the authorisation rules ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import attrs

from storage.event import Event


class AuthState(Protocol):
    """The state that an event is judged by, as facts: a large room need not keep its member events."""

    @property
    def create(self) -> Event | None:
        """The `m.room.create` event."""

    @property
    def power_levels(self) -> Event | None:
        """The `m.room.power_levels` event."""

    @property
    def join_rules(self) -> Event | None:
        """The `m.room.join_rules` event."""

    def membership(self, user_id: str) -> str | None:
        """The `membership` of the user's member event; None where there is no such event."""

    def third_party_invite(self, token: str) -> Event | None:
        """The `m.room.third_party_invite` event whose state key is `token`."""


@attrs.frozen
class AuthStateOf:
    """The facts in a few events, as when an event is judged by its `auth_events`.

    The create event of version 12 is not among an event's `auth_events`: it must be put to them.
    """

    create: Event | None = None
    power_levels: Event | None = None
    join_rules: Event | None = None
    memberships: Mapping[str, str] = attrs.field(factory=dict)
    third_party_invites: Mapping[str, Event] = attrs.field(factory=dict)

    @classmethod
    def from_events(cls, events: Iterable[Event]) -> AuthStateOf:
        """The facts in `events`, of which a later one replaces an earlier one with its type and state key."""
        unique: dict[str, Event] = {}
        memberships: dict[str, str] = {}
        invites: dict[str, Event] = {}
        for event in events:
            if event.state_key is None:
                continue
            if event.type == "m.room.member":
                membership = event.content.get("membership")
                if isinstance(membership, str):
                    memberships[event.state_key] = membership
            elif event.type == "m.room.third_party_invite":
                invites[event.state_key] = event
            elif event.state_key == "":
                unique[event.type] = event
        return cls(
            create=unique.get("m.room.create"),
            power_levels=unique.get("m.room.power_levels"),
            join_rules=unique.get("m.room.join_rules"),
            memberships=memberships,
            third_party_invites=invites,
        )

    def membership(self, user_id: str) -> str | None:
        """The `membership` of the user's member event; None where there is no such event."""
        return self.memberships.get(user_id)

    def third_party_invite(self, token: str) -> Event | None:
        """The `m.room.third_party_invite` event whose state key is `token`."""
        return self.third_party_invites.get(token)
