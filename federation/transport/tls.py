# SPDX-License-Identifier: Apache-2.0
"""TLS towards other servers: who is trusted, which name a certificate must be for, what SNI says.

spec: server-server-api, "TLS".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    platformTrust,
    trustRootFromCertificates,
)
from zope.interface import implementer

_system_trust: Any = platformTrust
_trust_root: Any = trustRootFromCertificates

_VERSIONS = {"1.2": TLSVersion.TLSv1_2, "1.3": TLSVersion.TLSv1_3}


class CertificateAuthoritiesError(Exception):
    """A file of `federation_custom_ca_list` cannot be used; the text says why, for the operator."""


@attrs.frozen
class TlsRules:
    """The federation's keys of the configuration that are about TLS.

    Certificates are checked if `verify`, except for names that a glob of `unverified` matches (`*` any text,
    `?` one character). `authorities` are files in PEM, in place of the system's; `minimum_version` is "1.2"
    or "1.3".
    """

    verify: bool = True
    unverified: Sequence[str] = ()
    authorities: Sequence[Path] | None = None
    minimum_version: str = "1.2"


class PeerTls:
    """Makes and checks TLS connections to other servers by `rules`."""

    def __init__(self, rules: TlsRules) -> None:
        """Read the authorities. Raises `CertificateAuthoritiesError`."""
        self._verify = rules.verify
        self._unverified = re.compile("|".join(map(_pattern_of, rules.unverified)) or r"(?!)", re.IGNORECASE)
        minimum = _VERSIONS[rules.minimum_version]
        trust = _system_trust() if rules.authorities is None else _authorities(rules.authorities)
        self._checking = _context(raiseMinimumTo=minimum, trustRoot=trust)
        self._trusting = _context(raiseMinimumTo=minimum)

    def verifies(self, name: str) -> bool:
        """Whether the certificate of `name` is checked."""
        return self._verify and self._unverified.fullmatch(name) is None

    def creator(self, name: str) -> ConnectionCreator:
        """What makes connections to `name`: a host name, or an IP literal without brackets."""
        return ConnectionCreator(name, self._checking if self.verifies(name) else self._trusting)

    def check_name(self, connection: SSL.Connection, name: str) -> None:
        """Check after the handshake that the certificate is for `name`.

        Raises errors of service_identity.
        """
        if not self.verifies(name):
            return
        if _is_ip(name):
            verify_ip_address(connection, name)
        else:
            verify_hostname(connection, name)


@implementer(IOpenSSLClientConnectionCreator)
@attrs.frozen
class ConnectionCreator:
    """Connections to `name`, by `context`. An IP literal is no server name for SNI."""

    name: str
    context: SSL.Context

    def clientConnectionForTLS(self, _protocol: Any) -> SSL.Connection:  # noqa: N802
        """A new connection that asks for the certificate of `name`."""
        connection = SSL.Connection(self.context, None)
        if not _is_ip(self.name):
            connection.set_tlsext_host_name(self.name.encode("ascii"))
        return connection


def _context(**options: Any) -> SSL.Context:
    make: Any = CertificateOptions
    context: SSL.Context = make(acceptableProtocols=[b"http/1.1"], **options).getContext()
    return context


def _authorities(paths: Sequence[Path]) -> Any:
    certificates = [certificate for path in paths for certificate in _certificates_in(path)]
    return _trust_root([Certificate.loadPEM(each.public_bytes(Encoding.PEM)) for each in certificates])


def _certificates_in(path: Path) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise CertificateAuthoritiesError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CertificateAuthoritiesError(f"{path} holds no certificate in PEM: {error}") from None


def _pattern_of(glob: str) -> str:
    return re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".")


def _is_ip(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
