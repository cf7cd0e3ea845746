# SPDX-License-Identifier: Apache-2.0
"""Which of what waits for a server goes into its next transaction: pure.

spec: server-server-api, "Transactions".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, NamedTuple

MOST_PDUS: Final = 50
MOST_EDUS: Final = 100

LARGEST_BODY: Final = 1_000_000
"""Bytes of a body, so that it passes what stands before other servers, where one MiB is a usual limit."""

_ENVELOPE: Final = 600  # The other members of a transaction; a server name has 255 bytes at most.
_COMMA: Final = 1


class Taken(NamedTuple):
    """How many of the first PDUs and EDUs that wait go into the next transaction."""

    pdus: int
    edus: int


def next_transaction(pdus: Sequence[int], edus: Sequence[int], *, largest_body: int = LARGEST_BODY) -> Taken:
    """What goes into the next transaction of what waits, given as the sizes in bytes, in order.

    The order is kept within each kind. EDUs may have a quarter of the room before PDUs get theirs, and what
    these leave, so that neither kind waits for the other. The first PDU goes whatever its size, and so does
    the first EDU where no PDU does: what is too large is for its receiver to refuse.
    """
    room = largest_body - _ENVELOPE
    early = _fitting(edus, MOST_EDUS, room // 4)
    taken_pdus = _fitting(pdus, MOST_PDUS, room - _bytes(edus[:early]))
    if not taken_pdus and pdus:
        return Taken(1, 0)
    taken_edus = _fitting(edus, MOST_EDUS, room - _bytes(pdus[:taken_pdus]))
    if not taken_pdus and not taken_edus and edus:
        return Taken(0, 1)
    return Taken(taken_pdus, taken_edus)


def _fitting(sizes: Iterable[int], most: int, room: int) -> int:
    """How many of the first fit into `room` bytes."""
    count = 0
    for size in islice(sizes, most):
        room -= size + _COMMA
        if room < 0:
            break
        count += 1
    return count


def _bytes(sizes: Iterable[int]) -> int:
    return sum(size + _COMMA for size in sizes)
