# SPDX-License-Identifier: Apache-2.0
"""The rules that every user has. spec: client-server-api, "Predefined Rules"."""

from __future__ import annotations

from typing import Any, Final

MASTER: Final = ".m.rule.master"
"""The rule that, once enabled, silences everything. It goes before the user's own rules."""

DEFAULT_KINDS: Final = ("override", "underride")
"""The kinds that have default rules."""

_SOUND: Final = {"set_tweak": "sound", "value": "default"}
_RING: Final = {"set_tweak": "sound", "value": "ring"}
_HIGHLIGHT: Final = {"set_tweak": "highlight"}


def default_rules(kind: str, owner: str) -> list[dict[str, Any]]:
    """The default rules of one of `DEFAULT_KINDS` as JSON, the most important first, for the user `owner`."""
    return _override(owner) if kind == "override" else _underride()


def _override(owner: str) -> list[dict[str, Any]]:
    return [
        _rule(MASTER, enabled=False),
        _rule(".m.rule.suppress_notices", _match("content.msgtype", "m.notice")),
        _rule(
            ".m.rule.invite_for_me",
            _match("type", "m.room.member"),
            _match("content.membership", "invite"),
            _match("state_key", owner),
            actions=["notify", _SOUND],
        ),
        _rule(".m.rule.member_event", _match("type", "m.room.member")),
        _rule(
            ".m.rule.is_user_mention",
            {"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids", "value": owner},
            actions=["notify", _SOUND, _HIGHLIGHT],
        ),
        _rule(
            ".m.rule.is_room_mention",
            {"kind": "event_property_is", "key": r"content.m\.mentions.room", "value": True},
            {"kind": "sender_notification_permission", "key": "room"},
            actions=["notify", _HIGHLIGHT],
        ),
        _rule(
            ".m.rule.tombstone",
            _match("type", "m.room.tombstone"),
            _match("state_key", ""),
            actions=["notify", _HIGHLIGHT],
        ),
        _rule(".m.rule.reaction", _match("type", "m.reaction")),
        _rule(".m.rule.room.server_acl", _match("type", "m.room.server_acl"), _match("state_key", "")),
        _rule(
            ".m.rule.suppress_edits",
            {"kind": "event_property_is", "key": r"content.m\.relates_to.rel_type", "value": "m.replace"},
        ),
    ]


def _underride() -> list[dict[str, Any]]:
    one_to_one = {"kind": "room_member_count", "is": "2"}
    message, encrypted = _match("type", "m.room.message"), _match("type", "m.room.encrypted")
    return [
        _rule(".m.rule.call", _match("type", "m.call.invite"), actions=["notify", _RING]),
        _rule(".m.rule.encrypted_room_one_to_one", one_to_one, encrypted, actions=["notify", _SOUND]),
        _rule(".m.rule.room_one_to_one", one_to_one, message, actions=["notify", _SOUND]),
        _rule(".m.rule.message", message, actions=["notify"]),
        _rule(".m.rule.encrypted", encrypted, actions=["notify"]),
    ]


def _rule(
    rule_id: str, *conditions: dict[str, Any], actions: list[Any] | None = None, enabled: bool = True
) -> dict[str, Any]:
    return {
        "rule_id": rule_id,
        "default": True,
        "enabled": enabled,
        "conditions": list(conditions),
        "actions": actions or [],
    }


def _match(key: str, pattern: str) -> dict[str, Any]:
    return {"kind": "event_match", "key": key, "pattern": pattern}
