# SPDX-License-Identifier: Apache-2.0
"""The redaction algorithm: what stays of an event when its substance is taken away.

spec: rooms, "Redactions".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from federation.rules.canonical_json import decode_json
from federation.rules.event_json import encode_event
from federation.rules.room_versions import RedactionRules, RoomVersion
from storage.event import Event


def redact(pdu: Mapping[str, Any], version: RoomVersion) -> dict[str, Any]:
    """The redacted form of `pdu`, which has a `type` and an object as `content`; it shares what it keeps."""
    rules = version.redaction
    members = rules.members
    redacted = {key: value for key, value in pdu.items() if key in members}
    redacted["content"] = redact_content(pdu["type"], pdu["content"], rules)
    return redacted


def redact_content(event_type: str, content: Mapping[str, Any], rules: RedactionRules) -> dict[str, Any]:
    """What stays of the `content` of an event of this type."""
    if event_type == "m.room.create" and rules.keeps_create_content:
        return dict(content)
    kept_keys = rules.content.get(event_type)
    if kept_keys is None:
        return {}
    kept = {key: value for key, value in content.items() if key in kept_keys}
    if event_type == "m.room.member" and rules.keeps_third_party_invite_signed:
        invite = content.get("third_party_invite")
        if isinstance(invite, dict):
            # The key stays even if nothing is left below it: event ids depend on it.
            kept["third_party_invite"] = {key: invite[key] for key in ("signed",) if key in invite}
    return kept


def redact_event(event: Event, version: RoomVersion) -> Event:
    """The redacted form of `event`, under the same ids and with signatures that still hold.

    No version keeps the top-level `redacts`.
    """
    redacted = redact(decode_json(event.json), version)
    return attrs.evolve(
        event,
        json=encode_event(redacted, version),
        content=redacted["content"],
        redacts=None,
    )


def redacts(event: Event, version: RoomVersion) -> str | None:
    """The id of the event that the `m.room.redaction` event names, if it names one."""
    if not version.redacts_in_content:
        return event.redacts
    target = event.content.get("redacts")
    return target if isinstance(target, str) else None
