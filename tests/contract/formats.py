# SPDX-License-Identifier: Apache-2.0
"""The string formats of the specification's schemas. spec: appendices, "Identifier Grammar"."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

LONGEST_IDENTIFIER = 255
"""In bytes of UTF-8, with sigil and domain."""

_SERVER_NAME = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z.-]{1,255})(:[0-9]{1,5})?")
_HASH = re.compile(r"[A-Za-z0-9_-]{43}")
_OLD_HASH = re.compile(r"[A-Za-z0-9+/]{43}")
_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*")
_URLSAFE_BASE64 = re.compile(r"[A-Za-z0-9_-]*")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!#$%&'()*+,/:;=?@A-Za-z0-9._~\[\]-]*")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def is_server_name(text: str) -> bool:
    """Whether `text` is a server name: a host and perhaps a port."""
    match = _SERVER_NAME.fullmatch(text)
    if match is None:
        return False
    host = match[1]
    if host.startswith("["):
        return _is_address(host[1:-1])
    return not re.fullmatch(r"[0-9.]+", host) or _is_address(host)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_identifier(text: str, sigil: str) -> bool:
    """Whether `text` is `sigil`, a localpart and a server name, within the length limit."""
    localpart, colon, domain = text[1:].partition(":")
    fits = len(text.encode("utf-8", "surrogatepass")) <= LONGEST_IDENTIFIER
    return text[:1] == sigil and bool(colon) and _is_text(localpart) and is_server_name(domain) and fits


def _is_text(localpart: str) -> bool:
    return "\0" not in localpart and not re.search("[\ud800-\udfff]", localpart)


def is_user_id(text: str) -> bool:
    """Whether `text` is a user ID, of the historical grammar too."""
    return _is_identifier(text, "@")


def is_room_id(text: str) -> bool:
    """Whether `text` is a room ID, with a domain or (from room version 12 on) a hash."""
    return _is_identifier(text, "!") or (text[:1] == "!" and bool(_HASH.fullmatch(text[1:])))


def is_event_id(text: str) -> bool:
    """Whether `text` is an event ID, with a domain (room versions 1 and 2) or a hash."""
    is_hash = text[:1] == "$" and any(form.fullmatch(text[1:]) for form in (_HASH, _OLD_HASH))
    return is_hash or _is_identifier(text, "$")


def is_room_alias(text: str) -> bool:
    """Whether `text` is a room alias."""
    return _is_identifier(text, "#")


def is_mxc_uri(text: str) -> bool:
    """Whether `text` is a Matrix content URI. spec: client-server-api, "Matrix Content (`mxc://`) URIs"."""
    if not text.startswith("mxc://"):
        return False
    server_name, _, media_id = text.removeprefix("mxc://").partition("/")
    return is_server_name(server_name) and bool(_MEDIA_ID.fullmatch(media_id))


def is_unpadded_base64(text: str) -> bool:
    """Whether `text` is base64 without padding; a lone last character encodes nothing."""
    return bool(_BASE64.fullmatch(text)) and len(text) % 4 != 1


def is_urlsafe_unpadded_base64(text: str) -> bool:
    """Whether `text` is base64 in the URL-safe alphabet without padding."""
    return bool(_URLSAFE_BASE64.fullmatch(text)) and len(text) % 4 != 1


def is_uri(text: str) -> bool:
    """Whether `text` is an absolute URI by the characters of RFC 3986."""
    return bool(_URI.fullmatch(text))


def is_email(text: str) -> bool:
    """Whether `text` looks like an email address."""
    return bool(_EMAIL.fullmatch(text))


STRING_FORMATS: dict[str, Callable[[str], bool]] = {
    "mx-user-id": is_user_id,
    "mx-event-id": is_event_id,
    "mx-room-id": is_room_id,
    "mx-room-alias": is_room_alias,
    "mx-server-name": is_server_name,
    "mx-mxc-uri": is_mxc_uri,
    "mx-unpadded-base64": is_unpadded_base64,
    "mx-urlsafe-unpadded-base64": is_urlsafe_unpadded_base64,
    "uri": is_uri,
    "email": is_email,
}
