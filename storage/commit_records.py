# SPDX-License-Identifier: Apache-2.0
"""The records of commits as the processes of one homeserver tell each other of them.

Only what a listener to commits looks at is packed. Fields are written by their order: new ones go to the
end of a class and have defaults, so that a process of another version reads what it knows. A kind that it
does not know is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

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
from storage.notification_counts import ThreadCounts
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
    16: ThreadCounts,
    17: NotificationException,
    18: ReadHere,
    19: ReadUpTo,
    20: ClientTransaction,
    21: DeletedDevice,
    22: DeletedAccessTokens,
    23: ChangedAccount,
    24: TypingChange,
}
"""The numbers stay what they are: processes of two versions may run beside each other during an upgrade."""

NOTED: frozenset[type[Any]] = frozenset(_CODES.values())
"""The records that other processes hear of."""

_STORED = ("number", "topo", "before", "after", "rejected", "soft_failed", "thread", "notify_count",
           "highlight_count", "redacted_by")  # fmt: skip
_stored_values = attrgetter(*_STORED)
_encode = msgspec.msgpack.Encoder().encode


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
    """A unit of another process, its offset in the commit, and the room that it extends."""

    offset: int
    unit: Unit
    room: int | None


def pack_units(units: Iterable[tuple[int, Unit]]) -> bytes:
    """What others take note of in units with their offsets in the commit."""
    packed = []
    for offset, unit in units:
        noted = [(_CODE_OF[kind], _PACK[kind](r)) for r in unit.records if (kind := type(r)) in NOTED]
        if noted:
            room = None if unit.epoch is None else unit.epoch.room
            packed.append(_PackedUnit(offset, unit.positions, room, noted))
    return _encode(packed)


def is_noted(unit: Unit) -> bool:
    """Whether others take note of anything in the unit."""
    return any(type(record) in NOTED for record in unit.records)


def pack_events(units: Iterable[Unit]) -> bytes:
    """The JSON of the events of units."""
    return _encode({stored.number: stored.event.json for unit in units for stored in _events_of(unit)})


def stored_numbers(records: bytes) -> list[int]:
    """The numbers of the events whose JSON `unpack_units` needs."""
    return [
        values[0][2]
        for unit in _decode_units(records)
        for code, values in unit.records
        if _CODES.get(code) in _WITH_EVENT
    ]


def unpack_units(records: bytes, events: bytes) -> list[UnpackedUnit]:
    """The units that `pack_units` packed, with the events that `pack_events` did."""
    jsons = _decode_events(events)
    unpacked = []
    for packed in _decode_units(records):
        found = [
            _unpack(kind, values, jsons)
            for code, values in packed.records
            if (kind := _CODES.get(code)) is not None
        ]
        unit = Unit([r for r in found if r is not None], positions=packed.positions)
        unpacked.append(UnpackedUnit(packed.offset, unit, packed.room))
    return unpacked


def _events_of(unit: Unit) -> Iterable[StoredEvent]:
    return (record.stored for record in unit.records if type(record) in _WITH_EVENT)


def _pack_stored(stored: StoredEvent) -> tuple[Any, ...]:
    return (stored.event.event_id, stored.event.room_id, *_stored_values(stored))


def _unpack_stored(values: Sequence[Any], jsons: Mapping[int, bytes]) -> StoredEvent | None:
    """None where the event is not stored any more."""
    event_id, room_id, number, topo, before, after, *rest = values
    json = jsons.get(number)
    if json is None:
        return None
    event = Event.decode(json, event_id, room_id)
    return StoredEvent(event, number, None, topo, _state_at(before), _state_at(after), *rest[:6])


def _state_at(value: list[int] | None) -> StateAt | None:
    return None if value is None else StateAt(*value)


def _unpack(kind: type[Any], packed: Sequence[Any], jsons: Mapping[int, bytes]) -> Any:
    """The record; None where its event is not stored any more."""
    names = _NAMES[kind]
    values = list(packed[: len(names)])
    if kind in _WITH_EVENT:
        stored = _unpack_stored(values[0], jsons)
        return None if stored is None else kind(stored, *values[1:])
    if kind is ReadUpTo:
        values[names.index("counts")] = CountsAt(*values[names.index("counts")])
    return kind(*values)


def _packing(kind: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    names = _NAMES[kind]
    if kind in _WITH_EVENT:
        rest = [attrgetter(name) for name in names[1:]]
        return lambda record: (_pack_stored(record.stored), *(value(record) for value in rest))
    if kind is AccountData:
        # Whoever follows looks at whose it is; what it says is read when it is asked for.
        return lambda record: attrs.astuple(attrs.evolve(record, content=b""))
    values: Callable[[Any], tuple[Any, ...]] = attrgetter(*names)
    return values


_NAMES: Mapping[type[Any], tuple[str, ...]] = {
    kind: tuple(field.name for field in attrs.fields(kind)) for kind in NOTED
}
_WITH_EVENT = frozenset(kind for kind in NOTED if _NAMES[kind][0] == "stored")
_CODE_OF = {kind: code for code, kind in _CODES.items()}
_PACK = {kind: _packing(kind) for kind in NOTED}
