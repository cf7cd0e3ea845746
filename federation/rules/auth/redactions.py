# SPDX-License-Identifier: Apache-2.0
"""Whether a redaction takes effect. spec: rooms, "Handling redactions"."""

from __future__ import annotations

from federation.rules.auth.power_levels import PowerLevels
from federation.rules.identifiers import server_of
from storage.event import Event


def may_apply_redaction(redaction: Event, target: Event, power_levels: PowerLevels) -> bool:
    """Whether the accepted event `redaction` redacts `target`, which it names, under these power levels."""
    # 1: the sender has the redact level; or 2: both senders are of one server.
    return (
        power_levels.user(redaction.sender) >= power_levels.redact
        or server_of(redaction.sender) == server_of(target.sender)
    ) and redaction.room_id == target.room_id
