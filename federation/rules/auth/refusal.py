# SPDX-License-Identifier: Apache-2.0
"""How a rule refuses an event."""

from __future__ import annotations

from federation.rules.errors import AuthRefused, MalformedContent
from federation.rules.room_versions import RoomVersion
from federation.rules.rule_numbers import Rule


def refused(version: RoomVersion, rule: Rule, reason: str) -> AuthRefused:
    """The error that says that `rule` rejects an event, with the number it has in this room version."""
    return AuthRefused(version.rule_numbers[rule], reason)


def malformed(version: RoomVersion, rule: Rule, reason: str) -> MalformedContent:
    """The error that says that `rule` rejects the form of an event's content."""
    return MalformedContent(version.rule_numbers[rule], reason)
