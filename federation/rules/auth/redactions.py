# SPDX-License-Identifier: Apache-2.0
"""Who may redact: a rule in versions 1 and 2, from then on whether a redaction takes effect.

spec: rooms, versions 1 and 2, "Authorisation rules", 11; from version 3 on, "Handling redactions".
"""

from __future__ import annotations

from federation.rules.auth.power_levels import PowerLevels
from federation.rules.auth.refusal import refused
from federation.rules.identifiers import server_of
from federation.rules.room_versions import RoomVersion
from federation.rules.rule_numbers import Rule
from storage.event import Event


def check_redaction(event: Event, levels: PowerLevels, version: RoomVersion) -> None:
    """11 (versions 1 and 2): check an `m.room.redaction` event. Raises `AuthRefused`."""
    # 11.1: the sender has the redact level.
    if levels.user(event.sender) >= levels.redact:
        return
    # 11.2: the ids of both events are of one server.
    if event.redacts is None or event.redacts.partition(":")[2] != server_of(event.event_id):
        reason = f"{event.sender} may only redact events of their own server"
        raise refused(version, Rule.REDACTION_OTHERWISE, reason)


def may_apply_redaction(
    redaction: Event, target: Event, power_levels: PowerLevels, version: RoomVersion
) -> bool:
    """Whether the accepted event `redaction` redacts `target`, which it names, under these power levels."""
    if redaction.room_id != target.room_id:
        return False
    # In versions 1 and 2 the authorisation rules have decided.
    if version.redaction_rule:
        return True
    # 1: the sender has the redact level; or 2: both senders are of one server.
    return power_levels.user(redaction.sender) >= power_levels.redact or server_of(
        redaction.sender
    ) == server_of(target.sender)
