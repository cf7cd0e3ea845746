# SPDX-License-Identifier: Apache-2.0
"""What a new password must be like. spec: client-server-api, "Password management"."""

from __future__ import annotations

from federation.errors import InvalidParam, WeakPassword
from homeserver.accounts.passwords import LONGEST_PASSWORD
from homeserver.config.passwords import PasswordPolicy


def check_new_password(password: str, policy: PasswordPolicy) -> None:
    """Raises `WeakPassword`, and `InvalidParam` for a text that can be nobody's password."""
    if len(password) > LONGEST_PASSWORD:
        raise InvalidParam(f"The password is longer than {LONGEST_PASSWORD} characters")
    if "\0" in password or any("\ud800" <= character <= "\udfff" for character in password):
        raise InvalidParam("The password holds a character that cannot be used")
    if not password:
        raise WeakPassword("The password is empty")
    if policy.enabled:
        _check_policy(password, policy)


def _check_policy(password: str, policy: PasswordPolicy) -> None:
    if len(password) < policy.minimum_length:
        raise WeakPassword(f"The password must have at least {policy.minimum_length} characters")
    wanted = (
        (policy.require_digit, str.isdigit, "a digit"),
        (policy.require_symbol, lambda character: not character.isalnum(), "a symbol"),
        (policy.require_lowercase, str.islower, "a lower-case letter"),
        (policy.require_uppercase, str.isupper, "an upper-case letter"),
    )
    for required, is_one, name in wanted:
        if required and not any(map(is_one, password)):
            raise WeakPassword(f"The password must have {name}")
