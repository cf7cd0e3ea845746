# SPDX-License-Identifier: Apache-2.0
"""Hashes of passwords: made and checked in a few threads, so that neither the reactor nor the memory suffers.

Passwords are hashed with argon2id. COMPAT: bcrypt hashes that Synapse made are checked as well. Both are
taken of the password in NFKC with the pepper after it.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable
from typing import Protocol, TypeVar, cast

import argon2
import bcrypt
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from federation.errors import LimitExceeded

logger = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_PASSWORD = 512
"""Characters that a password may have."""

# The first of the configurations that OWASP's Password Storage Cheat Sheet recommends: 19 MiB, two passes,
# one lane; about 20 ms on one core.
_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16)
_BCRYPT_BYTES = 72
_BUSY_RETRY_MS = 2000


class Reactor(Protocol):
    """The part of the reactor that is needed to come back from a thread."""

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> None:  # noqa: A002, N802
        """Call `callable` in the reactor's thread."""


class Passwords:
    """Makes and checks hashes.

    `threads` hash at once, each with 19 MiB; at most `queue_limit` more wait for them. The threads end with
    `stop`.
    """

    def __init__(
        self, *, reactor: Reactor, pepper: str = "", threads: int = 2, queue_limit: int = 200
    ) -> None:
        self._reactor = cast(IReactorFromThreads, reactor)
        self._pepper = pepper.encode()
        self._limit = threads + queue_limit
        self._pending = 0
        self._pool = ThreadPool(minthreads=0, maxthreads=threads, name="passwords")
        self._pool.start()

    def stop(self) -> None:
        """End the threads, once what is under way is done."""
        self._pool.stop()

    async def hash(self, password: str) -> str:
        """A new hash of the password. Raises `LimitExceeded` where too many wait."""
        secret = self._secret(password)
        return await self._in_thread(lambda: _HASHER.hash(secret))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether the hash is of this password.

        Without a hash it takes as long as with one, and the answer is no: nobody learns from the time whether
        there is an account. Raises `LimitExceeded` where too many wait.
        """
        secret = self._secret(password[:LONGEST_PASSWORD])
        if password_hash is None:
            await self._in_thread(lambda: _HASHER.hash(secret))
            return False
        matches = await self._in_thread(lambda: _matches(secret, password_hash))
        return matches and len(password) <= LONGEST_PASSWORD

    def is_outdated(self, password_hash: str) -> bool:
        """Whether a hash should be replaced by one that `hash` makes."""
        return not password_hash.startswith("$argon2") or _HASHER.check_needs_rehash(password_hash)

    def _secret(self, password: str) -> bytes:
        return unicodedata.normalize("NFKC", password).encode() + self._pepper

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._pending >= self._limit:
            raise LimitExceeded(
                "Too many passwords are being checked at present", retry_after_ms=_BUSY_RETRY_MS
            )
        self._pending += 1
        try:
            return await deferToThreadPool(self._reactor, self._pool, work)
        finally:
            self._pending -= 1


def _matches(secret: bytes, password_hash: str) -> bool:
    try:
        if password_hash.startswith("$argon2"):
            return _HASHER.verify(password_hash, secret)
        return bcrypt.checkpw(secret[:_BCRYPT_BYTES], password_hash.encode())
    except argon2.exceptions.VerifyMismatchError:
        return False
    except (argon2.exceptions.Argon2Error, ValueError):
        logger.error("An account has a password hash that is neither argon2 nor bcrypt")
        return False
