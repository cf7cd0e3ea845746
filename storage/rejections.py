# SPDX-License-Identifier: Apache-2.0
"""Why events were rejected or soft-failed.

spec: server-server-api, "Rejection" and "Soft failure".
"""

from __future__ import annotations

from typing import Any

import attrs

from storage.engine.database import Transaction
from storage.engine.statement import BYTES, INTEGER, Batch
from storage.writing import Writing, last_of_each

_UPSERT = Batch(
    "INSERT INTO rejections (event, rule, reason) SELECT event, rule, reason FROM v WHERE true"
    " ON CONFLICT (event) DO UPDATE SET rule = excluded.rule, reason = excluded.reason",
    columns={"event": INTEGER, "rule": BYTES, "reason": BYTES},
)
_OF_EVENT = "SELECT rule, reason FROM rejections WHERE event = ?"


@attrs.frozen
class NewRejection:
    """The event is refused by a rule of the specification, named by its number; a sentence says why."""

    event: int
    rule: str
    reason: str


@attrs.frozen
class Rejection:
    """Why an event was refused; see `NewRejection`."""

    event: int
    rule: str
    reason: str


def _text(text: str) -> bytes:
    """What is written for people may quote what no UTF-8 can hold."""
    return text.encode(errors="backslashreplace")


WRITINGS: tuple[Writing[Any], ...] = (
    Writing(
        NewRejection,
        _UPSERT,
        last_of_each(lambda r: r.event, lambda _, r: (r.event, _text(r.rule), _text(r.reason))),
    ),
)


class Rejections:
    """Reads why events were refused."""

    def of_event_txn(self, txn: Transaction, event: int) -> Rejection | None:
        """Why the event with this number is rejected or soft-failed, where it is and that is known."""
        row = txn.row(_OF_EVENT, (event,))
        return None if row is None else Rejection(event, row[0].decode(), row[1].decode())
