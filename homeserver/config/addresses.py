# SPDX-License-Identifier: Apache-2.0
"""Kinds of values that name places on the network or identify something in Matrix."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

import attrs

from federation.rules.errors import InvalidIdentifier
from federation.rules.identifiers import new_user_id, parse_server_name
from homeserver.config.kinds import Text
from homeserver.config.place import Place

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

DOTTED_QUAD = re.compile(r"[0-9.]+", re.ASCII)
LONGEST_SERVER_NAME = 230


def is_server_name(text: str) -> bool:
    """Whether `text` can be the name of a server that is reached.

    Stricter than the grammar (spec: appendices, "Server Name"), which lets `1.2.3.999` and the port 99999
    pass, and short enough to leave room for user ids.
    """
    try:
        name = parse_server_name(text)
    except InvalidIdentifier:
        return False
    is_number = DOTTED_QUAD.fullmatch(name.host) is not None and not name.is_ip_literal
    return len(text) <= LONGEST_SERVER_NAME and not is_number and (name.port is None or 0 < name.port < 65536)


@attrs.frozen
class ServerName:
    """The name of a Matrix server."""

    expected: str = attrs.field(
        default="a server name: a host name or IP address, with a port if need be, such as example.org",
        init=False,
    )

    def read(self, value: object, at: Place) -> str:
        if not isinstance(value, str) or not is_server_name(value):
            raise at.wrong(value, self.expected)
        return value


@attrs.frozen
class HttpUrl:
    """An http or https URL without query and fragment, read with a slash at its end."""

    expected: str = attrs.field(default="a URL such as https://matrix.example.org/", init=False)

    def read(self, value: object, at: Place) -> str:
        text = Text(self.expected).read(value, at)
        try:
            parts = urlsplit(text)
            named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            named = False
            parts = urlsplit("")
        if not named or parts.scheme not in ("http", "https") or parts.query or parts.fragment or " " in text:
            raise at.wrong(value, self.expected)
        return text if text.endswith("/") else text + "/"


@attrs.frozen
class ContactUri:
    """A `mailto:`, `http:` or `https:` URI."""

    expected: str = attrs.field(default="a URI such as mailto:admin@example.org", init=False)

    def read(self, value: object, at: Place) -> str:
        text = Text(self.expected).read(value, at)
        scheme, colon, rest = text.partition(":")
        if not colon or not rest.strip("/") or scheme.lower() not in ("mailto", "http", "https"):
            raise at.wrong(value, self.expected)
        return text


@attrs.frozen
class IpRange:
    """An IP address or a range of them in CIDR notation."""

    expected: str = attrs.field(default="an IP range such as 10.0.0.0/8 or fe80::/10", init=False)

    def read(self, value: object, at: Place) -> IpNetwork:
        if not isinstance(value, str):
            raise at.wrong(value, self.expected)
        try:
            return ipaddress.ip_network(value)
        except ValueError:
            raise at.wrong(value, self.expected) from None


@attrs.frozen
class BindAddress:
    """An IP address of this machine."""

    expected: str = attrs.field(default="an IP address of this machine such as 127.0.0.1 or ::1", init=False)

    def read(self, value: object, at: Place) -> str:
        # COMPAT: Synapse takes this name, and the empty text for all addresses.
        known = {"localhost": "127.0.0.1", "": "0.0.0.0"}
        if not isinstance(value, str):
            raise at.wrong(value, self.expected)
        try:
            return str(ipaddress.ip_address(known.get(value, value)))
        except ValueError:
            raise at.wrong(value, self.expected) from None


@attrs.frozen
class Localpart:
    """The part of a user id before the colon (spec: appendices, "User Identifiers")."""

    expected: str = attrs.field(
        default="a localpart of lower-case letters, digits and ._=/+- such as alice", init=False
    )

    def read(self, value: object, at: Place) -> str:
        try:
            new_user_id(value if isinstance(value, str) else "", "")
        except InvalidIdentifier:
            raise at.wrong(value, self.expected) from None
        return str(value)
