# SPDX-License-Identifier: Apache-2.0
"""`m.room.aliases` in versions 1 to 5. spec: rooms, "Authorisation rules", 4."""

from __future__ import annotations

from federation.rules.auth.refusal import refused
from federation.rules.identifiers import server_of
from federation.rules.room_versions import RoomVersion
from federation.rules.rule_numbers import Rule
from storage.event import Event


def check_aliases(event: Event, version: RoomVersion) -> None:
    """Check an `m.room.aliases` event; neither membership nor level is asked for. Raises `AuthRefused`."""
    # 4.1: it must have a `state_key`.
    if event.state_key is None:
        raise refused(version, Rule.ALIASES_STATE_KEY, "an aliases event has no `state_key`")
    # 4.2: which is the sender's server.
    if event.state_key != server_of(event.sender):
        reason = f"{event.sender} cannot set the aliases of {event.state_key}"
        raise refused(version, Rule.ALIASES_OTHER_SERVER, reason)
