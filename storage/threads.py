# SPDX-License-Identifier: Apache-2.0
"""How threads are named, and what is counted in them at a position.

spec: client-server-api, "Threaded read receipts".
"""

from __future__ import annotations

from typing import Final, NamedTuple

from storage.event_ids import pack_event_id, unpack_event_id

MAIN: Final = "main"
"""The main timeline."""

EVERY_THREAD: Final = ""
"""All threads of a room together."""


class CountsAt(NamedTuple):
    """Cumulative counts of a thread as they are at a position."""

    position: int
    notify: int
    highlight: int


NO_COUNTS: Final = CountsAt(0, 0, 0)
"""The counts at the beginning of a thread."""


def pack_thread(thread: str) -> bytes:
    """The stored form of a thread: `EVERY_THREAD`, `MAIN` or a root's event id."""
    return pack_event_id(thread) if thread.startswith("$") else thread.encode()


def unpack_thread(packed: bytes) -> str:
    """The thread whose stored form is `packed`."""
    return packed.decode() if packed in _TEXTS else unpack_event_id(packed)


_TEXTS: Final = frozenset({MAIN.encode(), EVERY_THREAD.encode()})
