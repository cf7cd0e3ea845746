# SPDX-License-Identifier: Apache-2.0
"""The log of commits, by which several processes learn of what each of them wrote."""

from __future__ import annotations

import attrs


@attrs.frozen
class LogEntry:
    """What the others take note of in one commit, which took the positions `base` + 1 to `upto`.

    `records` are packed. `events`, packed too, is the JSON of the events that the records name; it is never
    stored in the log, and None where it is to be read from the database.
    """

    base: int
    upto: int
    process: str
    records: bytes
    events: bytes | None = None
