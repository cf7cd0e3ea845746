# SPDX-License-Identifier: Apache-2.0
"""A statement over many rows of parameters, written once for both engines."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from storage.engine.errors import DataError

Value: TypeAlias = str | int | bytes | None
"""What a parameter can be."""

Row: TypeAlias = tuple[Any, ...]
"""A row of a result: integers, `bytes` for BYTES, `str` for TEXT, None for NULL."""


class ColumnType(enum.Enum):
    """The type of a column of parameters; NULL is allowed in each."""

    INTEGER = int
    BYTES = bytes
    TEXT = str


INTEGER = ColumnType.INTEGER
BYTES = ColumnType.BYTES
TEXT = ColumnType.TEXT

_NAME = re.compile(r"[a-z_][a-z0-9_]*").fullmatch
_WITH = re.compile(r"\s*WITH\s+(RECURSIVE\s+)?", re.IGNORECASE)
_EXACT = {
    ColumnType.INTEGER: frozenset({int, type(None)}),
    ColumnType.BYTES: frozenset({bytes, type(None)}),
    ColumnType.TEXT: frozenset({str, type(None)}),
}
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


def _check_columns(_batch: Batch, _attribute: Any, columns: Mapping[str, ColumnType]) -> None:
    if not columns or not all(map(_NAME, columns)):
        raise ValueError(f"column names must be plain lower-case words: {', '.join(columns) or 'none given'}")


@attrs.frozen(cache_hash=True)
class Batch:
    """A statement that reads its parameters from a table `v`, one row of `v` for each row of parameters.

    The engine puts `WITH v(columns…) AS (…)` before `sql`, which may begin with a WITH of its own, and runs
    it once for each chunk of rows. The order in which a SELECT gives rows back is not that of `v`. A
    column whose name is a reserved word is quoted in `sql` as `v."from"`.
    """

    sql: str
    columns: Mapping[str, ColumnType] = attrs.field(validator=_check_columns, eq=lambda c: tuple(c.items()))

    def after(self, tables: str) -> str:
        """The statement with the common table expressions `tables` put before it."""
        own = _WITH.match(self.sql)
        if own is None:
            return f"WITH {tables} {self.sql}"
        recursive = "RECURSIVE " if own.group(1) else ""
        return f"WITH {recursive}{tables}, {self.sql[own.end() :]}"

    def quoted_columns(self) -> str:
        """The names of the columns as SQL, joined by commas."""
        return ", ".join(f'"{name}"' for name in self.columns)

    def transposed(self, rows: Sequence[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
        """The columns of `rows`, each value checked against its column's type.

        Raises `DataError` for a value that an engine would refuse, or that the two would treat differently.
        """
        width = len(self.columns)
        if set(map(len, rows)) - {width}:
            raise ValueError(f"each row needs {width} values: {', '.join(self.columns)}")
        transposed = list(zip(*rows, strict=True))
        for (name, column_type), values in zip(self.columns.items(), transposed, strict=True):
            _check_values(name, column_type, values)
        return transposed


def _check_values(name: str, column_type: ColumnType, values: tuple[Value, ...]) -> None:
    if not _EXACT[column_type].issuperset(map(type, values)):
        for value in values:
            if value is not None and not isinstance(value, column_type.value):
                raise DataError(f"{name} must be {column_type.name}, not {type(value).__name__}")
    # Integers that are too large both engines refuse by themselves; only PostgreSQL refuses U+0000.
    if column_type is TEXT and any(isinstance(value, str) and "\0" in value for value in values):
        raise DataError(f"{name} has text with U+0000")


def check_parameters(values: Sequence[Value]) -> None:
    """Raise `DataError` for a parameter of a single statement that an engine would refuse."""
    for value in values:
        if isinstance(value, int):
            if not _SMALLEST <= value <= _LARGEST:
                raise DataError("integer outside of 64 bits")
        elif isinstance(value, str):
            if "\0" in value:
                raise DataError("text with U+0000")
        elif value is not None and not isinstance(value, bytes):
            raise DataError(f"a parameter cannot be {type(value).__name__}")
