# SPDX-License-Identifier: Apache-2.0
"""The servers that this one sends to: how far each has got everything, and whether it can be reached."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from storage.engine.database import Database
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.writing import Writing, last_of_each

# A cursor never moves back.
_DELIVERED = Batch(
    "INSERT INTO destinations (destination, delivered) SELECT destination, position FROM v WHERE true"
    " ON CONFLICT (destination) DO UPDATE SET delivered = excluded.delivered"
    " WHERE destinations.delivered IS NULL OR destinations.delivered < excluded.delivered",
    columns={"destination": BYTES, "position": INTEGER},
)
_RETRY_COLUMNS = ("failing_since", "next_try", "retry_interval")
_RETRY = Batch(
    f"INSERT INTO destinations (destination, {', '.join(_RETRY_COLUMNS)})"
    f" SELECT destination, {', '.join(_RETRY_COLUMNS)} FROM v WHERE true"
    " ON CONFLICT (destination) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in _RETRY_COLUMNS),
    columns={"destination": BYTES, **dict.fromkeys(_RETRY_COLUMNS, INTEGER)},
)
_SELECT = "SELECT d.destination, d.delivered, d.failing_since, d.next_try, d.retry_interval"
_GET = Batch(
    f"{_SELECT} FROM v JOIN destinations d ON d.destination = v.destination", columns={"destination": BYTES}
)
_FAILING = (
    f"{_SELECT} FROM destinations d WHERE d.next_try IS NOT NULL ORDER BY d.next_try, d.destination LIMIT ?"
)
_BEHIND = (
    f"{_SELECT} FROM destinations d WHERE d.destination > ? AND d.delivered < ?"
    " ORDER BY d.destination LIMIT ?"
)


@attrs.frozen
class Retry:
    """A server cannot be reached: since when, when it is tried next, and for how long that was put off.

    `failing_since` and `next_try` are milliseconds since the epoch, `interval` milliseconds.
    """

    failing_since: int
    next_try: int
    interval: int


@attrs.frozen
class Destination:
    """What is known of a server. `delivered`: everything up to this position that was for it has been
    answered; None before anything is said of it. `retry` None: as far as is known, it can be reached."""

    destination: str
    delivered: int | None = None
    retry: Retry | None = None


@attrs.frozen
class Delivered:
    """The server has got everything up to `position` that was for it. An earlier one changes nothing."""

    destination: str
    position: int


@attrs.frozen
class DestinationRetry:
    """How it stands with reaching the server; `retry` None: it has given a sign of life."""

    destination: str
    retry: Retry | None


def _retry_row(_i: int, record: DestinationRetry) -> tuple[Any, ...]:
    retry = record.retry
    values = (None, None, None) if retry is None else (retry.failing_since, retry.next_try, retry.interval)
    return (record.destination.encode(), *values)


WRITINGS: tuple[Writing[Any], ...] = (
    Writing(
        Delivered,
        _DELIVERED,
        lambda records: list(_furthest(record for _, record in records).items()),
    ),
    Writing(DestinationRetry, _RETRY, last_of_each(lambda r: r.destination, _retry_row)),
)


def _furthest(records: Iterable[Delivered]) -> dict[bytes, int]:
    furthest: dict[bytes, int] = {}
    for record in records:
        key = record.destination.encode()
        furthest[key] = max(record.position, furthest.get(key, record.position))
    return furthest


def destination_lease(destination: str) -> str:
    """The name of the lease under which the owner of a destination writes, one of several processes."""
    return f"destination {destination}"


class Destinations:
    """Reads what is known of the servers that this one sends to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, destinations: Iterable[str]) -> dict[str, Destination]:
        """What is known of those of the servers that anything is known of."""
        asked = [(name.encode(),) for name in dict.fromkeys(destinations)]
        rows = await self._database.read("destinations", lambda txn: txn.batch(_GET, asked))
        return {found.destination: found for found in map(_destination, rows)}

    async def failing(self, *, limit: int) -> list[Destination]:
        """Servers that cannot be reached, those that are tried next first."""
        return [_destination(row) for row in await self._database.look("failing", _FAILING, (limit,))]

    async def behind(self, position: int, *, after: str = "", limit: int) -> list[Destination]:
        """Servers whose cursor lies before `position`, by name, those after the name `after`."""
        rows = await self._database.look("behind", _BEHIND, (after.encode(), position, limit))
        return [_destination(row) for row in rows]


def _destination(row: tuple[Any, ...]) -> Destination:
    destination, delivered, *retry = row
    return Destination(destination.decode(), delivered, None if retry[1] is None else Retry(*retry))
