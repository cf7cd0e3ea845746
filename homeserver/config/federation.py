# SPDX-License-Identifier: Apache-2.0
"""Other servers: which are spoken to, how their certificates are checked, which addresses are never asked."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from homeserver.config.addresses import IpNetwork, IpRange, ServerName
from homeserver.config.collections import ListOf
from homeserver.config.keys import key, optional
from homeserver.config.kinds import Boolean, PathName
from homeserver.config.place import Place

# Addresses that are not on the public internet (the registries of special-purpose IPv4 and IPv6 addresses).
PRIVATE_RANGES = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "2001:db8::/32",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]

DOMAIN_GLOB = re.compile(r"[0-9A-Za-z.*?\[\]:-]{1,255}", re.ASCII)


@attrs.frozen
class DomainGlob:
    """A domain; `*` stands for any text, `?` for one character."""

    expected: str = attrs.field(default='a domain in quotes such as "*.onion"', init=False)

    def read(self, value: object, at: Place) -> str:
        if not isinstance(value, str) or not DOMAIN_GLOB.fullmatch(value):
            raise at.wrong(value, self.expected)
        return value


@attrs.frozen
class TlsVersion:
    """A version of TLS; the number 1.2 stands for the text."""

    expected: str = attrs.field(default="1.2 or 1.3", init=False)

    def read(self, value: object, at: Place) -> str:
        # COMPAT: 1 and 1.1 are accepted and mean 1.2; no current TLS library speaks less.
        if not isinstance(value, bool) and value in ("1", "1.0", "1.1", 1, 1.1):
            at.warn(f"TLS {value} is not spoken any more, 1.2 is taken")
            return "1.2"
        if value in ("1.2", 1.2):
            return "1.2"
        if value in ("1.3", 1.3):
            return "1.3"
        raise at.wrong(value, self.expected)


@attrs.frozen(kw_only=True)
class FederationConfig:
    """The federation API, as a client and as a server."""

    federation_domain_whitelist: tuple[str, ...] | None = optional(
        ListOf(ServerName()),
        """The servers that this one speaks with. Without it, all; an empty list: none.""",
        example=["example.com", "example.net"],
    )
    federation_verify_certificates: bool = key(
        Boolean(),
        """Whether the certificates of other servers are checked. Only tests turn it off.""",
        default=True,
    )
    federation_certificate_verification_whitelist: tuple[str, ...] = key(
        ListOf(DomainGlob()),
        """Domains whose certificates are not checked. * stands for any text.""",
        default=[],
        example=["*.internal.example"],
    )
    federation_client_minimum_tls_version: str = key(
        TlsVersion(),
        """The oldest version of TLS that is spoken with other servers: 1.2 or 1.3.""",
        default="1.2",
    )
    federation_custom_ca_list: tuple[Path, ...] | None = optional(
        ListOf(PathName(), minimum=1),
        """Files in PEM with the certificate authorities that are trusted in place of the system's.""",
        example=["/etc/ssl/example-ca.pem"],
    )
    ip_range_blacklist: tuple[IpNetwork, ...] = key(
        ListOf(IpRange()),
        """Addresses that the server never connects to on behalf of others: for federation, push, previews
        and keys. By default all that do not lie on the public internet.""",
        default=PRIVATE_RANGES,
    )
    ip_range_whitelist: tuple[IpNetwork, ...] = key(
        ListOf(IpRange()),
        """Addresses that it may connect to although ip_range_blacklist holds them.""",
        default=[],
        example=["192.168.1.1"],
    )
    allow_profile_lookup_over_federation: bool = key(
        Boolean(), """Whether other servers may ask for the profiles of our users.""", default=True
    )
    allow_device_name_lookup_over_federation: bool = key(
        Boolean(), """Whether other servers see the names of our users' devices.""", default=False
    )
