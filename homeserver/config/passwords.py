# SPDX-License-Identifier: Apache-2.0
"""Login with a password, and what a password must be like."""

from __future__ import annotations

import attrs

from homeserver.config.keys import RecordOf, key
from homeserver.config.kinds import Boolean, Integer, OneOf
from homeserver.config.place import Place


@attrs.frozen
class Pepper:
    """A text, empty for none."""

    expected: str = attrs.field(default="a text", init=False)

    def read(self, value: object, at: Place) -> str:
        if not isinstance(value, str) or not value.isprintable():
            raise at.wrong(value, self.expected)
        return value


@attrs.frozen(kw_only=True)
class PasswordPolicy:
    """What a new password must be like."""

    enabled: bool = key(Boolean(), """Whether new passwords are held to this policy.""", default=False)
    minimum_length: int = key(Integer(maximum=512), """How long a password must be at least.""", default=0)
    require_digit: bool = key(Boolean(), """Whether it needs a digit.""", default=False)
    require_symbol: bool = key(
        Boolean(), """Whether it needs a character that is no letter and no digit.""", default=False
    )
    require_lowercase: bool = key(Boolean(), """Whether it needs a lower-case letter.""", default=False)
    require_uppercase: bool = key(Boolean(), """Whether it needs an upper-case letter.""", default=False)


@attrs.frozen(kw_only=True)
class PasswordConfig:
    """Passwords."""

    enabled: bool | str = key(
        OneOf((True, False, "only_for_reauth")),
        """Whether people log in with a password; only_for_reauth: they only confirm with it what needs
        it.""",
        default=True,
    )
    localdb_enabled: bool = key(
        Boolean(), """Whether passwords are checked against those in the database.""", default=True
    )
    pepper: str = key(
        Pepper(),
        """A secret text that is mixed into every password's hash. Set it before the first user is made and
        never change it: all passwords depend on it.""",
        default="",
        secret=True,
    )
    policy: PasswordPolicy = key(
        RecordOf(PasswordPolicy), """What a new password must be like.""", default={}
    )


@attrs.frozen(kw_only=True)
class PasswordsConfig:
    """The section of passwords."""

    password_config: PasswordConfig = key(
        RecordOf(PasswordConfig), """Logging in with a password.""", default={}
    )
