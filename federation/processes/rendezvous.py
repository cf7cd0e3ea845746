# SPDX-License-Identifier: Apache-2.0
"""Rendezvous hashing: processes agree on an owner without talking, and where one goes only its names move."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b


def owner(name: str, processes: Sequence[str]) -> str:
    """The one of `processes` whose hash together with `name` is the highest. Their order is of no account.

    Raises `ValueError` where there are none.
    """
    if len(processes) == 1:
        return processes[0]
    named = b"\0" + name.encode("utf-8", "surrogatepass")
    return max(processes, key=lambda process: (_weight(process, named), process))


def _weight(process: str, named: bytes) -> bytes:
    return blake2b(process.encode("utf-8", "surrogatepass") + named, digest_size=16).digest()
