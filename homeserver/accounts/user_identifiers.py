# SPDX-License-Identifier: Apache-2.0
"""How a client names the user who logs in. spec: client-server-api, "Identifier types"."""

from __future__ import annotations

import attrs

from federation.errors import Forbidden, MissingParam, Unknown


@attrs.frozen
class UserIdentifier:
    """A user identifier object; which of its members are needed depends on `type`."""

    type: str
    user: str | None = None
    medium: str | None = None
    address: str | None = None
    country: str | None = None
    phone: str | None = None


_MEMBERS = {
    "m.id.user": ("user",),
    "m.id.thirdparty": ("medium", "address"),
    "m.id.phone": ("country", "phone"),
}


def identifier_of(
    identifier: UserIdentifier | None, user: str | None, medium: str | None, address: str | None
) -> UserIdentifier:
    """The identifier, or what its deprecated forms say: `user`, or `medium` and `address`.

    Raises `MissingParam`.
    """
    if identifier is not None:
        return identifier
    if user is not None:
        return UserIdentifier("m.id.user", user=user)
    if medium is not None or address is not None:
        return UserIdentifier("m.id.thirdparty", medium=medium, address=address)
    raise MissingParam("identifier is missing")


def user_of(identifier: UserIdentifier) -> str:
    """The user id or localpart that the identifier names.

    Raises `Unknown` for a type that is none, `MissingParam`, and `Forbidden` for a third-party identifier:
    no account has one here.
    """
    members = _MEMBERS.get(identifier.type)
    if members is None:
        raise Unknown(f"Unknown type of identifier: {identifier.type[:100]}")
    for member in members:
        if getattr(identifier, member) is None:
            raise MissingParam(f"identifier.{member} is missing")
    if identifier.user is None or identifier.type != "m.id.user":
        raise Forbidden("No account has this third-party identifier")
    return identifier.user
