# SPDX-License-Identifier: Apache-2.0
"""The certificate of listeners with TLS, which can be renewed while the server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from zope.interface import implementer


class CertificateError(Exception):
    """A certificate or private key cannot be used; the text says why, for the operator."""


@implementer(IOpenSSLServerConnectionCreator)
class ServerCertificate:
    """What `listenSSL` makes connections with, over two files in PEM: TLS 1.2 and 1.3, twisted's ciphers."""

    def __init__(self, *, certificate: Path, private_key: Path) -> None:
        """Read the certificate, with its chain, and its key. Raises CertificateError."""
        self._certificate = certificate
        self._private_key = private_key
        self._context = self._load()

    def serverConnectionForTLS(self, _protocol: Any) -> SSL.Connection:  # noqa: N802
        """A connection with the certificate as it is now."""
        return SSL.Connection(self._context, None)

    def reload(self) -> None:
        """Read the files again; new connections use them. On CertificateError the old certificate stays."""
        self._context = self._load()

    def _load(self) -> SSL.Context:
        chain = self._read_chain()
        key = self._read_key()
        if chain[0].public_key() != key.public_key():
            raise CertificateError(
                f"{self._private_key} is not the key of the certificate {self._certificate}"
            )
        options: Any = CertificateOptions
        context: SSL.Context = options(
            raiseMinimumTo=TLSVersion.TLSv1_2, acceptableProtocols=[b"http/1.1"]
        ).getContext()
        context.use_certificate_chain_file(str(self._certificate))
        context.use_privatekey_file(str(self._private_key))
        return context

    def _read_chain(self) -> list[x509.Certificate]:
        try:
            return x509.load_pem_x509_certificates(_read(self._certificate))
        except ValueError as error:
            raise CertificateError(f"{self._certificate} holds no certificate in PEM: {error}") from None

    def _read_key(self) -> Any:
        try:
            return load_pem_private_key(_read(self._private_key), password=None)
        except TypeError:
            raise CertificateError(f"{self._private_key} is encrypted; store it without a password") from None
        except ValueError as error:
            raise CertificateError(f"{self._private_key} holds no private key in PEM: {error}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from None
