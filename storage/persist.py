# SPDX-License-Identifier: Apache-2.0
"""What a unit holds, and the order in which the records of a batch are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from storage import (
    account_data,
    accounts,
    aliases,
    client_transactions,
    destinations,
    devices,
    ephemeral,
    event_records,
    filters,
    gaps,
    jobs,
    leases,
    memberships,
    notification_counts,
    notification_exceptions,
    out_of_band,
    outgoing_transactions,
    profiles,
    published_rooms,
    read_points,
    receipts,
    registration_tokens,
    rejections,
    room_servers,
    rooms,
    server_keys,
    state_records,
    strings,
    timeline_gaps,
    user_interactive_sessions,
)
from storage.engine.database import Transaction
from storage.engine.statement import Batch
from storage.writing import Grouped, Indexed, Writing

WRITINGS: tuple[Writing[Any], ...] = (
    *strings.WRITINGS,
    *rooms.WRITINGS,
    *event_records.WRITINGS,
    *state_records.WRITINGS,
    *gaps.WRITINGS,
    *timeline_gaps.WRITINGS,
    *rejections.WRITINGS,
    *memberships.WRITINGS,
    *room_servers.WRITINGS,
    *out_of_band.WRITINGS,
    *client_transactions.WRITINGS,
    *aliases.WRITINGS,
    *published_rooms.WRITINGS,
    *jobs.WRITINGS,
    *leases.WRITINGS,
    *destinations.WRITINGS,
    *outgoing_transactions.WRITINGS,
    *server_keys.WRITINGS,
    *account_data.WRITINGS,
    *receipts.WRITINGS,
    *notification_counts.WRITINGS,
    *read_points.WRITINGS,
    *notification_exceptions.WRITINGS,
    *profiles.WRITINGS,
    *filters.WRITINGS,
    *accounts.WRITINGS,
    *devices.WRITINGS,
    *registration_tokens.WRITINGS,
    *user_interactive_sessions.WRITINGS,
)
"""In this order; those that need positions come last, after the counter is taken."""


def _by_kind(writings: Iterable[tuple[int, Writing[Any]]]) -> dict[type[Any], list[int]]:
    """The places in `WRITINGS` of what each class of records needs."""
    found: dict[type[Any], list[int]] = {}
    for place, writing in writings:
        for kind in (writing.record, *writing.also):
            found.setdefault(kind, []).append(place)
    return found


_HEAD = _by_kind((i, writing) for i, writing in enumerate(WRITINGS) if not writing.positioned)
_POSITIONED = _by_kind((i, writing) for i, writing in enumerate(WRITINGS) if writing.positioned)
_KINDS = _HEAD.keys() | _POSITIONED.keys() | ephemeral.KINDS


@attrs.define(eq=False)
class RoomEpoch:
    """A room from one loading into memory to the next: what its units build on.

    `fence` is the version of the room's row that the next commit expects. Once `broken`, what still
    waits of the room builds on something that was not written, and is not written either.
    """

    room: int
    fence: int
    broken: bool = False


@attrs.frozen(eq=False)
class Unit:
    """What one request wants durable: all of it or nothing.

    A record with an attribute `index` (from 1 to `positions`) bears the position that this index gets.
    `epoch` is set where the unit extends a room.
    """

    records: Sequence[Any]
    positions: int = 0
    epoch: RoomEpoch | None = None

    def __attrs_post_init__(self) -> None:
        for record in self.records:
            if type(record) not in _KINDS:
                raise TypeError(f"no table takes records of {type(record).__name__}")


def write_head_txn(txn: Transaction, records: Sequence[Indexed[Any]]) -> None:
    """Write the rows of a batch that bear no position."""
    for statement, rows in _statements(records, _HEAD):
        txn.batch(statement, rows)


def positioned_rows(records: Sequence[Indexed[Any]]) -> list[tuple[Batch, list[tuple[Any, ...]]]]:
    """The statements and rows of a batch that bear positions."""
    return list(_statements(records, _POSITIONED))


def _statements(
    records: Sequence[Indexed[Any]], places: Mapping[type[Any], Sequence[int]]
) -> Iterator[tuple[Batch, list[tuple[Any, ...]]]]:
    groups = Grouped(records)
    for place in sorted({place for kind in groups.kinds for place in places.get(kind, ())}):
        rows = groups.rows(WRITINGS[place])
        if rows:
            yield WRITINGS[place].statement, rows
