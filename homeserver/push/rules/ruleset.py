# SPDX-License-Identifier: Apache-2.0
"""A user's push rules as a value: their own rules, and what they changed in the default ones.

The default rules themselves are not part of it, so users who share their settings have equal `UserRules`,
and whoever has changed nothing has `UserRules()`.

spec: client-server-api, "Push Rules"; data: push_rule, push_ruleset
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs
import msgspec

from homeserver.push.rules.defaults import DEFAULT_KINDS, MASTER, default_rules


class Kind(StrEnum):
    """The kinds of rules, in the order in which they are tried."""

    OVERRIDE = "override"
    CONTENT = "content"
    ROOM = "room"
    SENDER = "sender"
    UNDERRIDE = "underride"


@attrs.frozen
class Rule:
    """A rule that a user has made.

    `conditions` belong to override and underride rules, `pattern` to content rules.
    """

    rule_id: str
    actions: tuple[Any, ...]
    enabled: bool = True
    conditions: tuple[dict[str, Any], ...] = ()
    pattern: str | None = None

    def json(self, kind: Kind) -> dict[str, Any]:
        """The rule as the API shows it."""
        shown: dict[str, Any] = {
            "rule_id": self.rule_id,
            "default": False,
            "enabled": self.enabled,
            "actions": list(self.actions),
        }
        if kind in (Kind.OVERRIDE, Kind.UNDERRIDE):
            shown["conditions"] = list(self.conditions)
        elif kind is Kind.CONTENT:
            shown["pattern"] = self.pattern
        return shown


@attrs.frozen
class Change:
    """What a user has changed in a default rule; None where it is as it was."""

    enabled: bool | None = None
    actions: tuple[Any, ...] | None = None


@attrs.frozen
class UserRules:
    """The rules that a user has made, the most important of a kind first; changes of default ones by id."""

    override: tuple[Rule, ...] = ()
    content: tuple[Rule, ...] = ()
    room: tuple[Rule, ...] = ()
    sender: tuple[Rule, ...] = ()
    underride: tuple[Rule, ...] = ()
    changes: Mapping[str, Change] = attrs.field(factory=dict)

    @classmethod
    def decode(cls, json: bytes) -> UserRules:
        """The value that `encode` made `json` of. Raises `msgspec.MsgspecError` for anything else."""
        return _decode(json)

    def encode(self) -> bytes:
        """The value as JSON, to store it and to find users with equal rules: equal bytes, equal rules."""
        return msgspec.json.encode(self, order="deterministic")

    def of_kind(self, kind: Kind) -> tuple[Rule, ...]:
        """The user's own rules of this kind."""
        rules: tuple[Rule, ...] = getattr(self, kind.value)
        return rules

    def changed(self, default: dict[str, Any]) -> dict[str, Any]:
        """The default rule `default`, as JSON, with the user's changes."""
        change = self.changes.get(default["rule_id"])
        if change is None:
            return default
        shown = dict(default)
        if change.enabled is not None:
            shown["enabled"] = change.enabled
        if change.actions is not None:
            shown["actions"] = list(change.actions)
        return shown

    def json_of_kind(self, kind: Kind, owner: str) -> list[dict[str, Any]]:
        """All rules of a kind as JSON, the most important first, for the user whose id is `owner`."""
        own = [rule.json(kind) for rule in self.of_kind(kind)]
        if kind.value not in DEFAULT_KINDS:
            return own
        defaults = [self.changed(rule) for rule in default_rules(kind.value, owner)]
        if defaults[0]["rule_id"] == MASTER:
            return [defaults[0], *own, *defaults[1:]]
        return own + defaults

    def json(self, owner: str) -> dict[str, list[dict[str, Any]]]:
        """The whole ruleset, the answer to `GET /pushrules/global/`."""
        return {kind.value: self.json_of_kind(kind, owner) for kind in Kind}


_decode = msgspec.json.Decoder(UserRules).decode
