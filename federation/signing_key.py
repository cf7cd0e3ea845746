# SPDX-License-Identifier: Apache-2.0
"""The file with this server's signing keys, in the form that Synapse gave it.

Each line is `ed25519 version base64-of-the-seed`. The first key signs; the others are still published.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import string
from pathlib import Path

from federation.rules.errors import InvalidSigningKey
from federation.rules.keys import decode_signing_keys, encode_signing_key, generate_signing_key
from federation.rules.signing import SigningKey

LARGEST_FILE = 64 * 1024


class SigningKeyError(Exception):
    """The file with the signing key cannot be used; `str()` is one line that names it and says what to do."""


def load_signing_keys(path: Path) -> tuple[SigningKey, ...]:
    """The keys in the file `path`, which is made with a new key (mode 0600) where it is missing.

    The first one signs. Several processes that start at once end up with the same key.
    Raises `SigningKeyError`.
    """
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            create_signing_key(path)
    return read_signing_keys(path)


def read_signing_keys(path: Path) -> tuple[SigningKey, ...]:
    """The keys in the file `path`, at least one. Raises `SigningKeyError`."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE).decode("ascii")
        keys = decode_signing_keys(text)
    except OSError as error:
        raise SigningKeyError(f"cannot read the signing key {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SigningKeyError(f"{path} is no signing key: it holds bytes that are not ASCII") from None
    except InvalidSigningKey as error:
        raise SigningKeyError(f"{path} is no signing key: {error}") from None
    if not keys:
        raise SigningKeyError(
            f"{path} holds no signing key: put it back from a backup, or remove the file to get a new key"
        )
    return keys


def create_signing_key(path: Path) -> SigningKey:
    """Make a new key and the file `path` with it, which only its owner can read.

    The file is there whole or not at all, and is on disk when this returns.
    Raises `FileExistsError` where there is a file already, `SigningKeyError` where it cannot be written.
    """
    key = generate_signing_key(_new_version())
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write(new, encode_signing_key(key))
        try:
            # Unlike a rename, a link never replaces what another process has put there.
            os.link(new, path)
        finally:
            new.unlink()
        _sync_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise SigningKeyError(f"cannot write the signing key {path}: {error.strerror or error}") from None
    return key


def readable_by_others(path: Path) -> bool:
    """Whether the file's permissions let anyone but its owner read it."""
    return bool(path.stat().st_mode & 0o077)


def _new_version() -> str:
    return "a_" + "".join(secrets.choice(string.ascii_letters) for _ in range(4))


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
