# SPDX-License-Identifier: Apache-2.0
"""The records of commits as the processes of one homeserver tell each other of them.

Only what a listener to commits looks at is packed. Fields are written by their order: new ones go to the
end of a class and have defaults, so that a process of another version reads what it knows. A kind that it
does not know is passed over. The JSON of events travels apart, since the database has it anyhow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeAlias

import attrs
import msgspec

from storage.account_data import AccountData
from storage.accounts import ChangedAccount
from storage.client_transactions import ClientTransaction
from storage.devices import DeletedAccessTokens, DeletedDevice
from storage.ephemeral import TypingChange
from storage.event import Event, StateAt, StoredEvent
from storage.event_records import (
    NewBackfilledEvent,
    NewEvent,
    NewRedaction,
    OutlierBackfilled,
    OutlierPlaced,
    RedactionApplied,
    StateLearnt,
)
from storage.gaps import NewGap
from storage.memberships import Membership
from storage.notification_exceptions import NotificationException
from storage.persist import Unit
from storage.read_points import ReadHere, ReadUpTo
from storage.receipts import Receipt
from storage.state_records import EarlierChange, GivenRow, NewRevision, StateChange
from storage.threads import CountsAt

_CODES: Mapping[int, type[Any]] = {
    1: NewEvent,
    2: OutlierPlaced,
    3: NewBackfilledEvent,
    4: OutlierBackfilled,
    5: StateLearnt,
    6: NewRedaction,
    7: RedactionApplied,
    8: NewGap,
    9: NewRevision,
    10: StateChange,
    11: GivenRow,
    12: EarlierChange,
    13: Membership,
    14: AccountData,
    15: Receipt,
    16: NotificationException,
    17: ReadHere,
    18: ReadUpTo,
    19: ClientTransaction,
    20: DeletedDevice,
    21: DeletedAccessTokens,
    22: ChangedAccount,
    23: TypingChange,
}
"""The numbers stay what they are: processes of two versions may run beside each other during an upgrade."""

NOTED: frozenset[type[Any]] = frozenset(_CODES.values())
"""The records that other processes hear of."""

_STORED = ("number", "topo", "before", "after", "position", "rejected", "soft_failed", "thread",
           "notify_count", "highlight_count", "redacted_by")  # fmt: skip
_stored_values = attrgetter(*_STORED)
_encode = msgspec.msgpack.Encoder().encode
_Jsons: TypeAlias = Mapping[int, bytes]


class _PackedUnit(msgspec.Struct, array_like=True):
    """A unit: its offset in the commit, the room that it extends, and `[code, values]` of its records."""

    offset: int
    positions: int
    room: int | None
    records: Sequence[tuple[int, Sequence[Any]]]


_decode_units = msgspec.msgpack.Decoder(list[_PackedUnit]).decode
_decode_events = msgspec.msgpack.Decoder(dict[int, bytes]).decode


@attrs.frozen
class UnpackedUnit:
    """A unit of another process, its offset in the commit, and the number of the room that it extends."""

    offset: int
    unit: Unit
    room: int | None


def pack_units(units: Iterable[tuple[int, Unit]]) -> bytes:
    """What others take note of in units with their offsets in the commit.

    A unit that takes positions is packed also where nothing of it is noted: the end of the last one is the
    end of the commit. Raises what msgpack does for a value that no table takes either.
    """
    packed = []
    for offset, unit in units:
        noted = []
        for record in unit.records:
            packing = _PACKING.get(type(record))
            if packing is not None:
                noted.append((packing[0], packing[1](record)))
        if noted or unit.positions or unit.epoch is not None:
            room = None if unit.epoch is None else unit.epoch.room
            packed.append(_PackedUnit(offset, unit.positions, room, noted))
    return _encode(packed)


def is_noted(unit: Unit) -> bool:
    """Whether others take note of the unit: of anything in it, or of the room's being extended."""
    return unit.epoch is not None or any(type(record) in NOTED for record in unit.records)


def pack_events(units: Iterable[Unit]) -> bytes:
    """The JSON of the events of units, which are those that `stored_numbers` says of the packed units."""
    return _encode(
        {
            record.stored.number: record.stored.event.json
            for unit in units
            for record in unit.records
            if type(record) in _WITH_EVENT
        }
    )


def pack_jsons(jsons: Mapping[int, bytes]) -> bytes:
    """The JSON of events by their numbers, as `pack_events` packs it."""
    return _encode(jsons)


def stored_numbers(records: bytes) -> list[int]:
    """The numbers of the events whose JSON `unpack_units` needs."""
    return [
        values[0][2]
        for unit in _decode_units(records)
        for code, values in unit.records
        if code in _CODES_WITH_EVENT
    ]


def unpack_units(records: bytes, events: bytes) -> list[UnpackedUnit]:
    """The units that `pack_units` packed, with the events that `pack_events` did.

    A record whose event is not there is left out: it was deleted meanwhile. Raises `msgspec.MsgspecError`,
    `TypeError`, `ValueError` or `IndexError` where the bytes are none that `pack_units` made.
    """
    jsons = _decode_events(events)
    unpacked = []
    for packed in _decode_units(records):
        found = []
        for code, values in packed.records:
            unpack = _UNPACKING.get(code)
            record = None if unpack is None else unpack(values, jsons)
            if record is not None:
                found.append(record)
        unpacked.append(UnpackedUnit(packed.offset, Unit(found, packed.positions), packed.room))
    return unpacked


def _pack_stored(stored: StoredEvent) -> tuple[Any, ...]:
    return (stored.event.event_id, stored.event.room_id, *_stored_values(stored))


def _unpack_stored(values: Sequence[Any], jsons: _Jsons) -> StoredEvent | None:
    """None where the event is not stored any more."""
    event_id, room_id, number, topo, before, after, position, *rest = values
    json = jsons.get(number)
    if json is None:
        return None
    event = Event.decode(json, event_id, room_id)
    return StoredEvent(event, number, position, topo, _state_at(before), _state_at(after), *rest[:6])


def _state_at(value: Sequence[int] | None) -> StateAt | None:
    return None if value is None else StateAt(*value)


def _packing(kind: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    names = _names(kind)
    if kind is StateLearnt:
        return lambda record: (_pack_stored(record.stored),)
    if kind in _WITH_EVENT:
        rest = attrgetter(*names[1:])
        return lambda record: (_pack_stored(record.stored), *rest(record))
    if kind is AccountData:
        # Whoever follows looks at whose it is; what it says is read when it is asked for.
        return lambda record: (record.account, record.room, record.type, b"", record.index)
    values: Callable[[Any], tuple[Any, ...]] = attrgetter(*names)
    return values


def _unpacking(kind: type[Any]) -> Callable[[Sequence[Any], _Jsons], Any]:
    """What makes a record of its values; None where its event is not stored any more."""
    count = len(_names(kind))

    def with_event(values: Sequence[Any], jsons: _Jsons) -> Any:
        stored = _unpack_stored(values[0], jsons)
        return None if stored is None else kind(stored, *values[1:count])

    def plain(values: Sequence[Any], _jsons: _Jsons) -> Any:
        return kind(*values[:count])

    return with_event if kind in _WITH_EVENT else plain


def _read_up_to(values: Sequence[Any], _jsons: _Jsons) -> ReadUpTo:
    account, room, thread, counts = values[:4]
    return ReadUpTo(account, room, thread, CountsAt(*counts[:3]))


def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind))


_WITH_EVENT = frozenset(kind for kind in NOTED if _names(kind)[0] == "stored")
_CODES_WITH_EVENT = frozenset(code for code, kind in _CODES.items() if kind in _WITH_EVENT)
_PACKING = {kind: (code, _packing(kind)) for code, kind in _CODES.items()}
_UNPACKING = {code: _read_up_to if kind is ReadUpTo else _unpacking(kind) for code, kind in _CODES.items()}
