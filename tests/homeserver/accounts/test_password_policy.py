# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from federation.errors import InvalidParam, WeakPassword
from homeserver.accounts.password_policy import check_new_password
from homeserver.config.passwords import PasswordPolicy

STRICT = PasswordPolicy(
    enabled=True,
    minimum_length=8,
    require_digit=True,
    require_symbol=True,
    require_lowercase=True,
    require_uppercase=True,
)


@pytest.mark.parametrize(
    ("password", "text"),
    [
        ("aB3$xyz", "8 characters"),
        ("aBc$wxyz", "a digit"),
        ("aB3dwxyz", "a symbol"),
        ("AB3$WXYZ", "a lower-case letter"),
        ("ab3$wxyz", "an upper-case letter"),
    ],
)
def test_what_is_missing_is_named(password, text):
    with pytest.raises(WeakPassword, match=text):
        check_new_password(password, STRICT)


def test_a_good_one_passes():
    check_new_password("aB3$wxyz", STRICT)
    check_new_password("äÖ3 wxyz", STRICT)


def test_a_policy_that_is_off_asks_for_nothing_but_a_password():
    check_new_password("x", PasswordPolicy(minimum_length=8, require_digit=True))
    with pytest.raises(WeakPassword):
        check_new_password("", PasswordPolicy())


@pytest.mark.parametrize("password", ["x" * 513, "a\0b", "a\ud800b"])
def test_texts_that_can_be_nobodys_password(password):
    with pytest.raises(InvalidParam):
        check_new_password(password, PasswordPolicy())
