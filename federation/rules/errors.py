# SPDX-License-Identifier: Apache-2.0
"""What the rules raise. None of it knows of HTTP; each says which rule was broken and why."""

from __future__ import annotations


class RuleError(Exception):
    """Something from outside breaks a rule of the protocol; `str(error)` says what, for people."""


class NotJson(RuleError):
    """The bytes are no JSON text in UTF-8."""


class TooDeep(RuleError):
    """Arrays and objects are nested deeper than this server reads."""


class NotCanonicalJson(RuleError):
    """The value has no canonical JSON form. spec: appendices, "Canonical JSON"."""


class InvalidIdentifier(RuleError):
    """A user id, room id, alias, event id or server name breaks its grammar.

    spec: appendices, "Identifier Grammar".
    """


class UnknownRoomVersion(RuleError):
    """The room version is not one that this server knows."""

    def __init__(self, version: str) -> None:
        super().__init__(f"room version {version!r} is unknown")
        self.version = version


class InvalidEventFormat(RuleError):
    """A PDU does not have the format of its room version; `member` is wrong with it ("" for the whole)."""

    def __init__(self, member: str, reason: str) -> None:
        super().__init__(f"{member}: {reason}" if member else reason)
        self.member = member
        self.reason = reason


class EventTooLarge(InvalidEventFormat):
    """The event or one of its members exceeds a size limit. spec: client-server-api, "Size limits"."""


class InvalidSignature(RuleError):
    """An entity's signature is missing, made with unknown keys only, or wrong."""

    def __init__(self, server_name: str, reason: str) -> None:
        super().__init__(f"signature of {server_name}: {reason}")
        self.server_name = server_name
        self.reason = reason


class InvalidSigningKey(RuleError):
    """A signing key or verification key cannot be read."""


class AuthRefused(RuleError):
    """The authorisation rules reject an event.

    `rule` is the rule's number in the text of the room's version, such as "5.3.3"; `reason` is for people.
    """

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(f"{reason} (rule {rule})")
        self.rule = rule
        self.reason = reason


class MalformedContent(AuthRefused):
    """The authorisation rules reject an event for the form of its content, whoever sends it."""
