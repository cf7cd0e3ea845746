# SPDX-License-Identifier: Apache-2.0
"""What a read receipt does to unread counts. spec: client-server-api, "Marking notifications as read"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from homeserver.push.threads import is_event_id
from storage.event import StoredEvent
from storage.notification_counts import ThreadCountsStore
from storage.read_points import ReadUpTo
from storage.threads import EVERY_THREAD, MAIN, CountsAt


class ThreadOfReceipt(Protocol):
    """What matters of a receipt: its thread, None for an unthreaded one, else "main" or a root's event id."""

    @property
    def thread(self) -> str | None: ...


class PointsOfReceipts:
    """The points up to which receipts, `m.read` and `m.read.private` alike, mark rooms read.

    The more advanced of a user's receipts decides, since a point never moves back.
    """

    def __init__(self, thread_counts: ThreadCountsStore) -> None:
        self._thread_counts = thread_counts

    async def on_receipt(
        self, account: int, room: int, receipt: ThreadOfReceipt, stored: StoredEvent
    ) -> Sequence[ReadUpTo]:
        """The records to be written with the receipt that the user `account` has set on `stored`.

        None where the event came without being news (an outlier, or a backfilled one at a negative
        position), or the thread's name is none that one can have.
        """
        thread = EVERY_THREAD if receipt.thread is None else receipt.thread
        if stored.position is None or stored.position <= 0:
            return ()
        if not (thread in (EVERY_THREAD, MAIN) or is_event_id(thread)):
            return ()
        counted = MAIN if thread == EVERY_THREAD else thread
        if (stored.thread or MAIN) == counted:
            counts = CountsAt(stored.position, stored.notify_count, stored.highlight_count)
        else:
            at = await self._thread_counts.at(room, counted, stored.position)
            counts = at._replace(position=stored.position)
        return (ReadUpTo(account, room, thread, counts),)
