# SPDX-License-Identifier: Apache-2.0
"""Making, reading and writing signing keys; reading verification keys.

spec: appendices, "Signing Details"; server-server-api, "Publishing Keys".
"""

from __future__ import annotations

import re

from nacl.bindings import crypto_sign_PUBLICKEYBYTES, crypto_sign_SEEDBYTES
from nacl.signing import SigningKey as NaclKey

from federation.rules.base64 import decode_base64, encode_base64
from federation.rules.errors import InvalidSigningKey
from federation.rules.signing import ALGORITHM, SigningKey

_KEY_VERSION = re.compile(r"[a-zA-Z0-9_]+")


def generate_signing_key(version: str) -> SigningKey:
    """A new random key. Raises `InvalidSigningKey` for a version that is not of letters, digits and `_`."""
    _check_version(version)
    return SigningKey(version=version, key=NaclKey.generate())


def signing_key_of_seed(version: str, seed: bytes) -> SigningKey:
    """The key with the 32 bytes `seed` as its secret. Raises `InvalidSigningKey`."""
    _check_version(version)
    if len(seed) != crypto_sign_SEEDBYTES:
        raise InvalidSigningKey(f"a signing key's seed has {crypto_sign_SEEDBYTES} bytes, not {len(seed)}")
    return SigningKey(version=version, key=NaclKey(seed))


def decode_signing_keys(text: str) -> tuple[SigningKey, ...]:
    """The keys in a signing-key file: lines of `ed25519 version base64-of-the-seed`.

    Raises `InvalidSigningKey`.
    """
    return tuple(_decode_line(line) for line in text.splitlines() if line.strip())


def encode_signing_key(key: SigningKey) -> str:
    """The line of a signing-key file for `key`, with its line end."""
    return f"{ALGORITHM} {key.version} {encode_base64(bytes(key.key))}\n"


def decode_verify_key(key_id: str, key: str) -> bytes:
    """The 32 bytes of a published verification key in base64. Raises `InvalidSigningKey`."""
    algorithm, _, _ = key_id.partition(":")
    if algorithm != ALGORITHM:
        raise InvalidSigningKey(f"keys of the algorithm {algorithm[:40]!r} are not supported")
    try:
        decoded = decode_base64(key)
    except ValueError as error:
        raise InvalidSigningKey(f"the key {key_id[:80]!r} is no base64") from error
    if len(decoded) != crypto_sign_PUBLICKEYBYTES:
        raise InvalidSigningKey(
            f"the key {key_id[:80]!r} has {len(decoded)} bytes, not {crypto_sign_PUBLICKEYBYTES}"
        )
    return decoded


def _decode_line(line: str) -> SigningKey:
    parts = line.split()
    if len(parts) != 3 or parts[0] != ALGORITHM:
        raise InvalidSigningKey(
            f"a line of a signing-key file reads '{ALGORITHM} version base64-of-the-seed'"
        )
    try:
        seed = decode_base64(parts[2])
    except ValueError as error:
        raise InvalidSigningKey(f"the signing key {parts[1]!r} is no base64") from error
    return signing_key_of_seed(parts[1], seed)


def _check_version(version: str) -> None:
    if not _KEY_VERSION.fullmatch(version):
        raise InvalidSigningKey(
            f"the key version {version!r} has characters other than letters, digits and '_'"
        )
