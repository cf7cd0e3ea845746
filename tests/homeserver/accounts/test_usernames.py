# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from federation.errors import InvalidUsername
from federation.rules.identifiers import new_user_id
from homeserver.accounts.usernames import generated_localpart, user_id_of_new, user_ids_meant_by

SERVER = "s.example:8448"
LONGEST = 255 - len("@:" + SERVER)


@pytest.mark.parametrize("username", ["alice", "4lice", "a.b_c=d-e/f+g", "7", "x" * LONGEST])
def test_valid_names(username):
    assert user_id_of_new(username, SERVER) == f"@{username}:{SERVER}"


def test_capitals_become_lower_case():
    assert user_id_of_new("ALICe", SERVER) == f"@alice:{SERVER}"


@pytest.mark.parametrize(
    "username",
    [
        "",
        "a b",
        "a!b",
        "@alice",
        f"@alice:{SERVER}",
        "a:b",
        "ünï",
        "a\0b",
        "a\n",
        "\u212a",
        "x" * (LONGEST + 1),
    ],
)
def test_invalid_names(username):
    with pytest.raises(InvalidUsername):
        user_id_of_new(username, SERVER)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("alice", ("@alice",)),
        ("@alice:s.example:8448", ("@alice",)),
        ("Alice", ("@Alice", "@alice")),
        ("@ALICE:s.example:8448", ("@ALICE", "@alice")),
        ("old name", ("@old name",)),
        ("Ünï", ("@Ünï",)),
        ("@alice", ()),
        ("@alice:s.example", ()),
        ("@alice:S.example:8448", ()),
        ("alice:s.example:8448", ()),
        ("a" * 300, ()),
        ("a\0", ()),
        ("a\ud800", ()),
    ],
)
def test_who_is_meant(user, expected):
    assert user_ids_meant_by(user, SERVER) == tuple(f"{localpart}:{SERVER}" for localpart in expected)


def test_generated_names_are_valid_and_differ():
    names = {generated_localpart() for _ in range(100)}
    assert len(names) == 100
    assert all(new_user_id(name, SERVER) for name in names)
