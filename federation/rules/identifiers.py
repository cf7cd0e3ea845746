# SPDX-License-Identifier: Apache-2.0
"""User ids, room ids, aliases, event ids and server names. spec: appendices, "Identifier Grammar"."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import attrs

from federation.rules.errors import InvalidIdentifier

# Bytes in UTF-8, sigil and domain included.
MAX_LENGTH = 255

# The common user ids, decided at once: no IPv6 literal, ASCII.
_ASCII_USER_ID = re.compile(r"@[^:\0]*:[0-9A-Za-z.-]{1,255}(?::[0-9]{1,5})?")
_DNS_NAME = re.compile(r"[0-9A-Za-z.-]{1,255}")
_IPV4_CHARACTERS = re.compile(r"[0-9.]+")
_IPV6_CHARACTERS = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_PORT = re.compile(r"[0-9]{1,5}")
_LOCALPART = re.compile(r"[a-z0-9._=/+-]+")
_COMPLIANT_LOCALPART = re.compile(r"[!-9;-~]+")
# 256 bits in 43 characters: the last one carries four of them, so its two lowest bits are zero.
_HASH = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_STANDARD_HASH = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]")


@attrs.frozen
class ServerName:
    """A server name taken apart: `host` as it is written (IPv6 without its brackets), `port` if given."""

    host: str
    port: int | None
    is_ip_literal: bool


@attrs.frozen
class UserId:
    """`@localpart:server_name`."""

    localpart: str
    server_name: str


@attrs.frozen
class RoomId:
    """`!opaque_id:server_name`, or `!opaque_id` (no server name) in room versions whose id is a hash."""

    opaque_id: str
    server_name: str | None


@attrs.frozen
class RoomAlias:
    """`#localpart:server_name`."""

    localpart: str
    server_name: str


def check_no_nul(text: str, what: str) -> None:
    """Refuse U+0000, which no identifier may hold. Raises `InvalidIdentifier`, which names `what`."""
    if "\0" in text:
        raise InvalidIdentifier(f"{what} contains U+0000")


def byte_length(text: str) -> int:
    """The length of `text` in UTF-8. Raises `InvalidIdentifier` for lone surrogates."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidIdentifier("an identifier contains a lone surrogate") from error


def parse_server_name(name: str) -> ServerName:
    """Take a server name apart. spec: appendices, "Server Name".

    Any name that the grammar allows is accepted, such as `1.2.3.999`, which is no IPv4 literal but made of
    characters of a DNS name: servers must agree on what a valid user id is. Raises `InvalidIdentifier`.
    """
    if name.startswith("["):
        host, bracket, rest = name[1:].partition("]")
        if not bracket or not _is_ipv6(host):
            raise InvalidIdentifier(f"{name[:300]!r} is no server name: bad IPv6 literal")
        colon, port = rest[:1], rest[1:]
        if colon not in ("", ":"):
            raise InvalidIdentifier(f"{name[:300]!r} is no server name")
        is_ip_literal = True
    else:
        host, colon, port = name.partition(":")
        if not _DNS_NAME.fullmatch(host):
            raise InvalidIdentifier(f"{name[:300]!r} is no server name")
        is_ip_literal = _is_ipv4(host)
    if colon and not _PORT.fullmatch(port):
        raise InvalidIdentifier(f"{name[:300]!r} is no server name: bad port")
    return ServerName(host=host, port=int(port) if colon else None, is_ip_literal=is_ip_literal)


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host)
    except AddressValueError:
        return False
    return _IPV6_CHARACTERS.fullmatch(host) is not None


def _is_ipv4(host: str) -> bool:
    if not _IPV4_CHARACTERS.fullmatch(host):
        return False
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True


def server_of(user_id: str) -> str:
    """The server name in a user id (or an alias, or a room id with a domain): what follows the first colon.

    Raises `InvalidIdentifier` where there is none; the grammar is not checked.
    """
    _, colon, server_name = user_id.partition(":")
    if not colon:
        raise InvalidIdentifier(f"{user_id[:300]!r} names no server")
    return server_name


def parse_user_id(user_id: str) -> UserId:
    """Read a user id by the historical grammar, which everything that comes in must be read by.

    The localpart may be empty or hold any code point but `:` and U+0000.
    spec: appendices, "Historical User IDs". Raises `InvalidIdentifier`.
    """
    localpart, server_name = _localpart_and_server(user_id, "@", "user id")
    return UserId(localpart=localpart, server_name=server_name)


def is_user_id(user_id: str) -> bool:
    """Whether `user_id` is a user id by the historical grammar."""
    if len(user_id) <= MAX_LENGTH and user_id.isascii() and _ASCII_USER_ID.fullmatch(user_id):
        return True
    try:
        parse_user_id(user_id)
    except InvalidIdentifier:
        return False
    return True


def is_compliant(user_id: UserId) -> bool:
    """Whether the localpart keeps to U+0021 to U+007E and is not empty.

    Other user ids should not be forwarded to clients outside of events.
    spec: appendices, "Historical User IDs".
    """
    return _COMPLIANT_LOCALPART.fullmatch(user_id.localpart) is not None


def new_user_id(localpart: str, server_name: str) -> str:
    """The id of a user that is about to be created here, by the strict grammar.

    spec: appendices, "User Identifiers". Raises `InvalidIdentifier`.
    """
    if not _LOCALPART.fullmatch(localpart):
        raise InvalidIdentifier("a user name may contain only the characters a-z, 0-9, ., _, =, -, / and +")
    user_id = f"@{localpart}:{server_name}"
    if byte_length(user_id) > MAX_LENGTH:
        raise InvalidIdentifier(f"a user id is longer than {MAX_LENGTH} bytes")
    return user_id


def parse_room_id(room_id: str) -> RoomId:
    """Read a room id of either form. spec: appendices, "Room IDs". Raises `InvalidIdentifier`."""
    if ":" in room_id:
        opaque_id, server_name = _localpart_and_server(room_id, "!", "room id")
        return RoomId(opaque_id=opaque_id, server_name=server_name)
    return RoomId(opaque_id=_opaque(room_id, "!", "room id"), server_name=None)


def parse_alias(alias: str) -> RoomAlias:
    """Read a room alias. spec: appendices, "Room Aliases". Raises `InvalidIdentifier`."""
    localpart, server_name = _localpart_and_server(alias, "#", "room alias")
    return RoomAlias(localpart=localpart, server_name=server_name)


def check_event_id(event_id: str) -> None:
    """Check the grammar that all event ids share, `$opaque_id`. spec: appendices, "Event IDs".

    Raises `InvalidIdentifier`.
    """
    _opaque(event_id, "$", "event id")


def is_id_with_server(identifier: str, sigil: str) -> bool:
    """Whether `identifier` is `sigil`, an opaque id and a server name: an event id of versions 1 and 2."""
    try:
        _localpart_and_server(identifier, sigil, "identifier")
    except InvalidIdentifier:
        return False
    return True


def is_hash_id(identifier: str, sigil: str) -> bool:
    """Whether `identifier` is `sigil` and 32 bytes in URL-safe unpadded base64, in their proper spelling."""
    return identifier.startswith(sigil) and _HASH.fullmatch(identifier, 1) is not None


def is_standard_hash_id(identifier: str, sigil: str) -> bool:
    """`is_hash_id` in the standard alphabet, as in room version 3."""
    return identifier.startswith(sigil) and _STANDARD_HASH.fullmatch(identifier, 1) is not None


def _opaque(identifier: str, sigil: str, what: str) -> str:
    """What follows the sigil; checks sigil, emptiness, length and U+0000."""
    if not identifier.startswith(sigil) or len(identifier) == 1:
        raise InvalidIdentifier(f"a {what} starts with {sigil!r} and goes on: {identifier[:300]!r}")
    if byte_length(identifier) > MAX_LENGTH:
        raise InvalidIdentifier(f"a {what} is longer than {MAX_LENGTH} bytes")
    check_no_nul(identifier, f"the {what}")
    return identifier[1:]


def _localpart_and_server(identifier: str, sigil: str, what: str) -> tuple[str, str]:
    localpart, colon, server_name = _opaque(identifier, sigil, what).partition(":")
    if not colon:
        raise InvalidIdentifier(f"a {what} names its server after a colon: {identifier!r}")
    parse_server_name(server_name)
    return localpart, server_name
