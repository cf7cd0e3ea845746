# SPDX-License-Identifier: Apache-2.0
"""Who may have an account."""

from __future__ import annotations

from pathlib import Path

import attrs

from homeserver.config.keys import key, optional
from homeserver.config.kinds import Boolean, PathName, Text, is_clean
from homeserver.config.place import ConfigError, Place


@attrs.frozen(kw_only=True)
class RegistrationConfig:
    """Registration, open or closed."""

    enable_registration: bool = key(
        Boolean(),
        """Whether people may register themselves. Otherwise accounts are made with `trellis user create`.
        Needs registration_requires_token or enable_registration_without_verification as well.""",
        default=False,
    )
    enable_registration_without_verification: bool = key(
        Boolean(),
        """Whether people may register with nothing but a name and a password. Spammers will: leave it off
        on a server that the internet reaches.""",
        default=False,
    )
    registration_requires_token: bool = key(
        Boolean(),
        """Whether registering needs a token that an administrator has made.""",
        default=False,
    )
    registration_shared_secret: str | None = optional(
        Text(),
        """A secret with which programs may register accounts, also where registration is closed. Whoever
        knows it can make administrators.""",
        example="a long random text",
        secret=True,
    )
    registration_shared_secret_path: Path | None = optional(
        PathName(),
        """A file that holds that secret, in place of registration_shared_secret.""",
        example="registration_shared_secret",
    )
    allow_guest_access: bool = key(
        Boolean(), """Whether people may look around as guests, without an account.""", default=False
    )

    def check(self, at: Place) -> None:
        """Open registration is asked for twice, the shared secret once."""
        open_on_purpose = self.registration_requires_token or self.enable_registration_without_verification
        if self.enable_registration and not open_on_purpose:
            raise at.child("enable_registration").error(
                "anybody could register without verification: set registration_requires_token: true, "
                "or enable_registration_without_verification: true if that is meant"
            )
        if self.registration_shared_secret is not None and self.registration_shared_secret_path is not None:
            raise at.child("registration_shared_secret_path").error(
                "registration_shared_secret is given as well, expected only one of them"
            )

    def shared_secret(self) -> str | None:
        """The secret for shared-secret registration, from the configuration or its file; None: there is none.

        Raises:
            ConfigError: the file cannot be read or holds no text.
        """
        path = self.registration_shared_secret_path
        if path is None:
            return self.registration_shared_secret
        try:
            secret = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(
                "registration_shared_secret_path", f"cannot read {path}: {error.strerror or error}"
            ) from None
        except UnicodeDecodeError:
            secret = ""
        if not secret or not is_clean(secret):
            raise ConfigError(
                "registration_shared_secret_path", f"{path} holds no text, expected the secret in UTF-8"
            )
        return secret
