# SPDX-License-Identifier: Apache-2.0
"""Where the timelines of rooms break off: events that came while something before them was missing.

Unlike gaps, these stay: what fills a gap later is older, and in no timeline.
"""

from __future__ import annotations

from typing import Any

from storage.engine.database import Transaction
from storage.engine.statement import INTEGER, Batch
from storage.gaps import NewGap
from storage.writing import Writing, each

_INSERT = Batch(
    "INSERT INTO timeline_gaps (room, event) SELECT room, event FROM v WHERE true ON CONFLICT DO NOTHING",
    columns={"room": INTEGER, "event": INTEGER},
)
_POSITIONS = (
    "SELECT g.room, e.position FROM timeline_gaps g JOIN events e ON e.event = g.event"
    " WHERE e.position > 0 AND e.status = 0 ORDER BY e.position"
)

WRITINGS: tuple[Writing[Any], ...] = (Writing(NewGap, _INSERT, each(lambda r: (r.room, r.referrer))),)


class TimelineGaps:
    """Reads where timelines break off."""

    def positions_txn(self, txn: Transaction) -> dict[int, list[int]]:
        """The positions of the events after a gap, in order, by room."""
        found: dict[int, list[int]] = {}
        for room, position in txn.rows(_POSITIONS):
            found.setdefault(room, []).append(position)
        return found
