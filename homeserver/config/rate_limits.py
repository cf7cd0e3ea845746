# SPDX-License-Identifier: Apache-2.0
"""How often things may be done."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from homeserver.config.keys import RecordOf, key, optional, required
from homeserver.config.kinds import Integer, Number
from homeserver.config.place import Place
from homeserver.config.quantities import Size


@attrs.frozen(kw_only=True)
class RateLimit:
    """A bucket that holds `burst_count` and fills with `per_second`."""

    per_second: float = required(Number(), """How often in a second on average.""", example=0.2)
    burst_count: float = required(Number(minimum=1), """How often at once.""", example=10)


@attrs.frozen
class LimitOf:
    """A rate limit; a number that is not given has its default."""

    per_second: float
    burst_count: float
    expected: str = attrs.field(default="a mapping with per_second and burst_count", init=False)

    @property
    def defaults(self) -> dict[str, float]:
        """The default as it stands in YAML."""
        return {"per_second": self.per_second, "burst_count": self.burst_count}

    def read(self, value: object, at: Place) -> RateLimit:
        if not isinstance(value, dict):
            raise at.wrong(value, self.expected)
        given = {name: number for name, number in value.items() if number is not None}
        return RecordOf(RateLimit).read(self.defaults | given, at)


def _limit(doc: str, per_second: float, burst_count: float) -> RateLimit:
    kind = LimitOf(per_second, burst_count)
    return key(kind, doc, default=kind.defaults)


@attrs.frozen(kw_only=True)
class LoginLimits:
    """Logins."""

    address: RateLimit = _limit("""Logins from one address.""", 0.003, 5)
    account: RateLimit = _limit("""Logins to one account.""", 0.003, 5)
    failed_attempts: RateLimit = _limit("""Failed logins to one account.""", 0.17, 3)


@attrs.frozen(kw_only=True)
class JoinLimits:
    """Joins of one user."""

    local: RateLimit = _limit("""Joins to rooms that this server is in.""", 0.1, 10)
    remote: RateLimit = _limit("""Joins to rooms that it is not in, which cost more.""", 0.01, 10)


@attrs.frozen(kw_only=True)
class InviteLimits:
    """Invitations."""

    per_room: RateLimit = _limit("""Invitations to one room.""", 0.3, 10)
    per_user: RateLimit = _limit("""Invitations of one user, whoever sends them.""", 0.003, 5)
    per_issuer: RateLimit = _limit("""Invitations that one user sends.""", 0.3, 10)


@attrs.frozen(kw_only=True)
class PresenceLimits:
    """Presence."""

    per_user: RateLimit = _limit("""Changes of one user's presence.""", 0.1, 1)


@attrs.frozen(kw_only=True)
class FederationLimit:
    """Requests of one other server."""

    window_size: int = key(Integer(minimum=1), """The window in milliseconds.""", default=1000)
    sleep_limit: int = key(
        Integer(), """After how many requests in a window the next ones wait.""", default=10
    )
    sleep_delay: int = key(Integer(), """How long these wait, in milliseconds.""", default=500)
    reject_limit: int = key(Integer(), """How many may wait before more are refused.""", default=50)
    concurrent: int = key(Integer(minimum=1), """How many are worked on at once.""", default=3)


@attrs.frozen(kw_only=True)
class RateLimitsConfig:
    """Limits for each thing that clients and servers do."""

    rc_message: RateLimit = _limit("""Events that one user sends.""", 0.2, 10)
    rc_registration: RateLimit = _limit("""Registrations from one address.""", 0.17, 3)
    rc_registration_token_validity: RateLimit = _limit(
        """Questions from one address whether a registration token is valid.""", 0.1, 5
    )
    rc_login: LoginLimits = key(RecordOf(LoginLimits), """Logins.""", default={})
    rc_admin_redaction: RateLimit | None = optional(
        LimitOf(0.17, 3),
        """Redactions by a moderator. Without it, they count as rc_message.""",
        example={"per_second": 1, "burst_count": 50},
    )
    rc_joins: JoinLimits = key(RecordOf(JoinLimits), """Joins of one user.""", default={})
    rc_joins_per_room: RateLimit = _limit("""Joins to one room, whoever joins.""", 1, 10)
    rc_3pid_validation: RateLimit = _limit(
        """Requests to verify an e-mail address or a phone number.""", 0.003, 5
    )
    rc_invites: InviteLimits = key(RecordOf(InviteLimits), """Invitations.""", default={})
    rc_third_party_invite: RateLimit = _limit(
        """Invitations by e-mail or phone that one user sends.""", 0.0025, 5
    )
    rc_media_create: RateLimit = _limit("""Uploads that one user announces.""", 10, 50)
    rc_key_requests: RateLimit = _limit("""Requests for encryption keys by one device or server.""", 20, 100)
    rc_presence: PresenceLimits = key(RecordOf(PresenceLimits), """Presence.""", default={})
    rc_delayed_event_mgmt: RateLimit = _limit("""Changes of delayed events by one user.""", 1, 5)
    rc_room_creation: RateLimit = _limit("""Rooms that one user creates.""", 0.016, 10)
    rc_reports: RateLimit = _limit("""Reports that one user makes.""", 1, 5)
    rc_user_directory: RateLimit = _limit("""Searches of the user directory by one user.""", 0.016, 200)
    rc_federation: FederationLimit = key(
        RecordOf(FederationLimit), """Requests of one other server.""", default={}
    )
    federation_rr_transactions_per_room_per_second: int = key(
        Integer(minimum=1),
        """How many read receipts of a room are sent to other servers in a second.""",
        default=50,
    )
    remote_media_download_per_second: int = key(
        Size(minimum=1),
        """How many bytes of other servers' media one user may fetch in a second.""",
        default="87K",
    )
    remote_media_download_burst_count: int = key(
        Size(minimum=1), """How many of these bytes at once.""", default="500M"
    )

    def by_name(self) -> Mapping[str, RateLimit]:
        """Every limit by its name: `rc_message`, `rc_login.address`."""
        limits: dict[str, RateLimit] = {}
        for name, value in attrs.asdict(self, recurse=False).items():
            if isinstance(value, RateLimit):
                limits[name] = value
            elif attrs.has(type(value)):
                parts = attrs.asdict(value, recurse=False).items()
                limits.update(
                    {f"{name}.{part}": limit for part, limit in parts if isinstance(limit, RateLimit)}
                )
        limits.setdefault("rc_admin_redaction", self.rc_message)
        return MappingProxyType(limits)
