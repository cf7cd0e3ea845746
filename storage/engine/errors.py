# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a database, the same for both engines.

Whatever a transaction raises, it has been rolled back; only `OutcomeUnknown` leaves open whether it was.
"""

from __future__ import annotations

from collections.abc import Iterable


class DatabaseError(Exception):
    """Base of all errors of this package."""


class DataError(DatabaseError):
    """A constraint was violated or a value refused; nothing was written. The same request fails again."""


class FenceLost(DatabaseError):
    """Rooms whose version is no longer the expected one; nothing was written."""

    def __init__(self, rooms: Iterable[int]) -> None:
        self.rooms = tuple(sorted(rooms))
        super().__init__(f"the fence was lost of rooms {', '.join(map(str, self.rooms))}")


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, is full, locked or closed; nothing was written.

    A later request may succeed.
    """


class OutcomeUnknown(DatabaseError):
    """The database failed while it committed: what the transaction wrote may be there or not."""


class UnsuitableDatabase(DatabaseError):
    """This program cannot work with the database as it is; the text says what to do."""
