# SPDX-License-Identifier: Apache-2.0
"""The auth graph of a room: which state events each state event cites, and the log of an index over it.

Rows of integers by the ten thousand are slow to read beside a busy reactor, so the index is kept packed.

spec: server-server-api, "Auth events selection".
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Any, Final

import attrs
import msgspec

from storage.engine.database import Database, Transaction
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.event_ids import pack_event_id

_CITING = Batch(
    "SELECT e.event, e.type, e.state_key, j.json FROM v JOIN events e ON e.event = v.event"
    " JOIN event_json j ON j.event = e.event",
    columns={"event": INTEGER},
)
_CITED = Batch(
    "SELECT e.event_id, e.event, e.room, e.type, e.state_key FROM v JOIN events e ON e.event_id = v.event_id",
    columns={"event_id": BYTES},
)
_BLOCKS = "SELECT block, data FROM auth_chain_blocks WHERE room = ? ORDER BY block"
_LAST_BLOCK = "SELECT coalesce(max(block), 0) FROM auth_chain_blocks WHERE room = ?"
_INSERT_BLOCK = "INSERT INTO auth_chain_blocks (room, block, data) VALUES (?, ?, ?)"
_DELETE_BLOCKS = "DELETE FROM auth_chain_blocks WHERE room = ? AND block >= ?"
_HEADER: Final = Struct("<II")
_LINK: Final = 3


class IndexMoved(Exception):
    """The room's index on disk is not what it was taken for: somebody else has written to it."""


class _Pdu(msgspec.Struct):
    """The one member of a PDU that is read here."""

    auth_events: list[Any] = []


_decode = msgspec.json.Decoder(_Pdu).decode


@attrs.frozen
class Citations:
    """The auth events of a stored event, by number.

    `previous` is the one among them that has the event's own type and state key. `complete` is False where
    one is not stored, and may be later.
    """

    cited: tuple[int, ...]
    previous: int | None
    complete: bool


class AuthChainBlock:
    """A piece of the log of a room's index: events in the order in which they were added.

    Each has its number, its chain (the next new one, or one that it goes on with) and the places that it
    links to.
    """

    def __init__(self) -> None:
        self._numbers = array("q")
        self._chains = array("i")
        self._links = array("i")  # index of the event, chain, sequence number, and so on

    def __len__(self) -> int:
        return len(self._numbers)

    def append(self, number: int, chain: int, links: Iterable[tuple[int, int]]) -> None:
        """Log an event."""
        for target_chain, target_sequence in links:
            self._links.extend((len(self._numbers), target_chain, target_sequence))
        self._numbers.append(number)
        self._chains.append(chain)

    def extend(self, later: AuthChainBlock) -> None:
        """Log what `later` does."""
        for number, chain, links in later.entries():
            self.append(number, chain, links)

    def entries(self) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
        """The number, chain and links of each event."""
        link = 0
        for i, (number, chain) in enumerate(zip(self._numbers, self._chains, strict=True)):
            links = []
            while link < len(self._links) and self._links[link] == i:
                links.append((self._links[link + 1], self._links[link + 2]))
                link += _LINK
            yield number, chain, links

    def pack(self) -> bytes:
        """The block as bytes."""
        header = _HEADER.pack(len(self._numbers), len(self._links) // _LINK)
        return b"".join((header, *(_little_endian(a).tobytes() for a in self._arrays())))

    @classmethod
    def unpack(cls, data: bytes) -> AuthChainBlock:
        """The block that was packed. Raises `ValueError` where `data` is none."""
        if len(data) < _HEADER.size:
            raise ValueError("a block without its header")
        events, links = _HEADER.unpack_from(data)
        block = cls()
        sizes = [
            n * a.itemsize for n, a in zip((events, events, _LINK * links), block._arrays(), strict=True)
        ]
        if len(data) != _HEADER.size + sum(sizes):
            raise ValueError(f"a block of {len(data)} bytes for {events} events and {links} links")
        begin = _HEADER.size
        for values, size in zip(block._arrays(), sizes, strict=True):
            values.frombytes(data[begin : begin + size])
            begin += size
        block._numbers, block._chains, block._links = map(_little_endian, block._arrays())
        return block

    def _arrays(self) -> tuple[array[int], array[int], array[int]]:
        return self._numbers, self._chains, self._links


def _little_endian(values: array[int]) -> array[int]:
    """From the machine's order of bytes to that on disk, or back."""
    if sys.byteorder == "little":
        return values
    swapped = values[:]
    swapped.byteswap()
    return swapped


class AuthChainStore:
    """Reads the auth graph of rooms, and keeps the logs of their indexes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def citations(self, room: int, numbers: Iterable[int]) -> dict[int, Citations]:
        """What each of the events with these numbers cites; those that are not stored are left out.

        What no event of a room's state can cite (events of other rooms, events without a state key) is
        passed over.
        """
        wanted = list(numbers)
        return await self._database.read("auth events", lambda txn: self.citations_txn(txn, room, wanted))

    def citations_txn(self, txn: Transaction, room: int, numbers: Iterable[int]) -> dict[int, Citations]:
        """As `citations`, inside a transaction of the caller's."""
        citing = {
            event: (type_, state_key, _packed_ids(json))
            for event, type_, state_key, json in txn.batch(_CITING, [(number,) for number in numbers])
        }
        ids = {packed for _, _, cited in citing.values() for packed in cited}
        known = {row[0]: row[1:] for row in txn.batch(_CITED, [(packed,) for packed in ids])}
        return {
            event: _citations(room, (type_, state_key), [known.get(packed) for packed in cited])
            for event, (type_, state_key, cited) in citing.items()
        }

    async def blocks(self, room: int) -> list[tuple[int, bytes]]:
        """The log of the room's index: number and data of each block, in order."""
        rows = await self._database.read("auth index", lambda txn: txn.rows(_BLOCKS, (room,)))
        return [(block, data) for block, data in rows]

    async def append(self, room: int, *, last: int, replaced: Sequence[int], block: AuthChainBlock) -> int:
        """Write `block` after the block `last`, in the place of the blocks `replaced`; returns its number.

        `replaced` are the latest up to `last`, whose content `block` begins with, or none. `last` is 0 where
        there is no block. Raises `IndexMoved` where it is not the last any more, or `DataError` where that
        happens at this very moment.
        """
        data = block.pack()
        await self._database.write(
            "auth index", lambda txn: self._append_txn(txn, room, last, replaced, data)
        )
        return last + 1

    def _append_txn(
        self, txn: Transaction, room: int, last: int, replaced: Sequence[int], data: bytes
    ) -> None:
        if txn.row(_LAST_BLOCK, (room,)) != (last,):
            raise IndexMoved(f"the index of room {room} has another end than {last}")
        if replaced and txn.execute(_DELETE_BLOCKS, (room, min(replaced))) != len(replaced):
            raise IndexMoved(f"the index of room {room} was merged")
        txn.execute(_INSERT_BLOCK, (room, last + 1, data))


def _packed_ids(json: bytes) -> set[bytes]:
    """The ids in `auth_events`; room versions 1 and 2 write each as `[id, hashes]`."""
    references = (r[0] if isinstance(r, list) and r else r for r in _decode(json).auth_events)
    return {pack_event_id(event_id) for event_id in references if isinstance(event_id, str)}


def _citations(
    room: int, key: tuple[int, int | None], found: Iterable[tuple[int, int, int, int | None] | None]
) -> Citations:
    cited = []
    previous = None
    complete = True
    for row in found:
        if row is None:
            complete = False
            continue
        number, its_room, type_, state_key = row
        if its_room != room or state_key is None:
            continue
        cited.append(number)
        if (type_, state_key) == key:
            previous = number
    return Citations(tuple(sorted(cited)), previous, complete)
