# SPDX-License-Identifier: Apache-2.0
"""What PostgreSQL's error codes mean for a transaction."""

from __future__ import annotations

import psycopg2

from storage.engine.errors import DatabaseUnavailable, DataError, FenceLost

FENCE_LOST = "TR001"
"""The SQLSTATE that `trellis_raise_fences` raises, with the rooms as its detail."""

_REFUSED = frozenset({"22", "23", "54"})
_CONFLICTS = frozenset({"40001", "40P01"})
_BROKEN_CLASS = "08"
_BROKEN = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"})
_PASSING_CLASSES = frozenset({"53", "57", "58"})
_PASSING = frozenset({"55P03", "XX001", "XX002"})
_READ_ONLY = "25006"


class Conflict(DatabaseUnavailable):
    """A deadlock or a serialization failure: the same transaction may succeed at once."""


class ConnectionLost(DatabaseUnavailable):
    """The connection broke before the commit was sent."""


def is_broken(error: psycopg2.Error) -> bool:
    """Whether the server ended the connection with this error."""
    code = error.pgcode or ""
    return code in _BROKEN or code.startswith(_BROKEN_CLASS)


def translated(error: Exception, *, connected: bool, read_only: bool) -> Exception:
    """The domain error for what psycopg2 raised; `error` itself where it shows a mistake in a statement.

    `connected` tells whether the connection still stands, `read_only` whether the transaction may not write
    in any case.
    """
    if isinstance(error, UnicodeEncodeError):
        return DataError(str(error))
    if not isinstance(error, psycopg2.Error):
        return error
    text = f"PostgreSQL: {str(error).strip()}"
    if not connected or is_broken(error):
        return ConnectionLost(text)
    code = error.pgcode or ""
    if code == FENCE_LOST:
        return FenceLost(map(int, (error.diag.message_detail or "").split(",")))
    if code in _CONFLICTS:
        return Conflict(text)
    if code[:2] in _REFUSED:
        return DataError(text)
    if code[:2] in _PASSING_CLASSES or code in _PASSING or (code == _READ_ONLY and not read_only):
        return DatabaseUnavailable(text)
    return error
