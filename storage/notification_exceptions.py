# SPDX-License-Identifier: Apache-2.0
"""Unread events that count otherwise for a user than for everybody: mentions, above all.

They are deleted once read. spec: client-server-api, "Receiving notifications".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from storage.engine.database import Transaction
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.read_points import ReadUpTo
from storage.threads import pack_thread, unpack_thread
from storage.writing import Indexed, Writing, each_positioned

_INSERT_EXCEPTION = Batch(
    "INSERT INTO notification_exceptions (account, room, position, thread, notify, highlight)"
    " SELECT v.account, v.room, base.value + v.i, v.thread, v.notify, v.highlight FROM base, v",
    columns={
        "i": INTEGER, "account": INTEGER, "room": INTEGER, "thread": BYTES, "notify": INTEGER,
        "highlight": INTEGER,
    },
)  # fmt: skip
_EXCEPTIONS = Batch(
    "SELECT x.room, x.thread, x.position, x.notify, x.highlight FROM v JOIN notification_exceptions x"
    " ON x.account = v.account AND x.room = v.room ORDER BY x.room, x.position",
    columns={"account": INTEGER, "room": INTEGER},
)
_DELETE_EXCEPTIONS = Batch(
    "DELETE FROM notification_exceptions WHERE (account, room, position) IN (SELECT x.account, x.room,"
    " x.position FROM v JOIN notification_exceptions x ON x.account = v.account AND x.room = v.room"
    " AND x.position <= v.position WHERE length(v.thread) = 0 OR x.thread = v.thread)",
    columns={"account": INTEGER, "room": INTEGER, "thread": BYTES, "position": INTEGER},
)


@attrs.frozen
class NotificationException:
    """What an event adds to the counts of one user beyond what it adds to everybody's.

    `thread` is `MAIN` or a root's event id. As a record to be written, `index` gives its position.
    """

    account: int
    room: int
    thread: str
    notify: int
    highlight: int
    index: int = 0
    position: int = 0


def _exception_row(i: int, r: NotificationException) -> tuple[Any, ...]:
    return (i, r.account, r.room, pack_thread(r.thread), r.notify, r.highlight)


def _read_row(r: ReadUpTo) -> tuple[Any, ...]:
    return (r.account, r.room, pack_thread(r.thread), r.counts.position)


def _read_rows(records: Sequence[Indexed[ReadUpTo]]) -> list[tuple[Any, ...]]:
    return list({_read_row(record): None for _, record in records})


WRITINGS = (
    Writing(ReadUpTo, _DELETE_EXCEPTIONS, _read_rows),
    Writing(NotificationException, _INSERT_EXCEPTION, each_positioned(_exception_row), positioned=True),
)


class NotificationExceptions:
    """Reads exceptions."""

    def of_rooms_txn(
        self, txn: Transaction, account: int, rooms: Iterable[int]
    ) -> dict[int, list[NotificationException]]:
        """The user's exceptions in each of the rooms, in order of positions."""
        found: dict[int, list[NotificationException]] = {room: [] for room in rooms}
        for room, thread, position, notify, highlight in txn.batch(
            _EXCEPTIONS, [(account, room) for room in found]
        ):
            found[room].append(
                NotificationException(
                    account, room, unpack_thread(thread), notify, highlight, position=position
                )
            )
        return found
