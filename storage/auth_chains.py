# SPDX-License-Identifier: Apache-2.0
"""The auth graph of a room as it is stored: which state events each state event cites.

spec: server-server-api, "Auth events selection".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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


class AuthChainStore:
    """Reads the auth graph of rooms."""

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
