# SPDX-License-Identifier: Apache-2.0
"""From what people type to user ids of this server. spec: appendices, "User Identifiers"."""

from __future__ import annotations

import secrets
import string

from federation.errors import InvalidUsername
from federation.rules.errors import InvalidIdentifier
from federation.rules.identifiers import is_user_id, new_user_id

_LOWER_CASE = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_GENERATED_LENGTH = 12


def user_id_of_new(username: str, server_name: str) -> str:
    """The id of a user who is about to be made; A-Z become lower case, anything else must fit the grammar.

    Raises `InvalidUsername`.
    """
    try:
        return new_user_id(username.translate(_LOWER_CASE), server_name)
    except InvalidIdentifier as error:
        text = str(error)
        raise InvalidUsername(text[:1].upper() + text[1:]) from None


def user_ids_meant_by(user: str, server_name: str) -> tuple[str, ...]:
    """The ids of local users that `user`, an id or a localpart, may stand for, the most literal one first.

    Old accounts may have capitals in their ids; people type capitals for accounts that have none.
    """
    user_id = user if user.startswith("@") else f"@{user}:{server_name}"
    localpart, colon, server = user_id.partition(":")
    if not colon or server != server_name or not is_user_id(user_id):
        return ()
    lower = f"{localpart.translate(_LOWER_CASE)}:{server}"
    return (user_id,) if lower == user_id else (user_id, lower)


def generated_localpart() -> str:
    """A localpart for a user who names none."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(_GENERATED_LENGTH))
