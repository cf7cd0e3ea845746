# SPDX-License-Identifier: Apache-2.0
"""Statements as psycopg2 and PostgreSQL take them: placeholders, arrays of parameters, batches."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from storage.engine.statement import Batch, ColumnType, Value

ROWS_AT_ONCE = 1_000
"""How many rows of a batch go into one statement."""

# A literal, a quoted name or a comment, in which `?` has no meaning; or one of the two signs.
_PART = re.compile(r"'[^']*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|[?%]", re.DOTALL)
_ARRAYS = {ColumnType.INTEGER: "bigint[]", ColumnType.BYTES: "bytea[]", ColumnType.TEXT: "text[]"}


@functools.lru_cache(maxsize=4096)
def with_placeholders(sql: str) -> str:
    """`sql` with `%s` for `?`, and its own `%` doubled."""
    return _PART.sub(lambda part: "%s" if part[0] == "?" else part[0].replace("%", "%%"), sql)


@functools.lru_cache(maxsize=4096)
def rendered(statement: Batch, with_base: bool) -> str:
    """The text of a batch, with a placeholder for the array of each column."""
    arrays = ", ".join(f"%s::{_ARRAYS[column_type]}" for column_type in statement.columns.values())
    tables = f"v({statement.quoted_columns()}) AS (SELECT * FROM unnest({arrays}))"
    if with_base:
        tables += ", base(value) AS (SELECT current_setting('trellis.base')::bigint)"
    # Only the statement's own text may hold signs that psycopg2 would take for its own.
    return Batch(statement.sql.replace("%", "%%"), statement.columns).after(tables)


def arrays(statement: Batch, rows: Sequence[tuple[Value, ...]]) -> list[str]:
    """The columns of `rows` as array literals. Raises `DataError` for a value that its column cannot hold."""
    columns = zip(statement.columns.values(), statement.transposed(rows), strict=True)
    return [_array(column_type, values) for column_type, values in columns]


def _array(column_type: ColumnType, values: Sequence[Value]) -> str:
    if column_type is ColumnType.INTEGER:
        numbers = ",".join(map(str, values))
        return f"{{{numbers.replace('None', 'NULL').replace('True', '1').replace('False', '0')}}}"
    if column_type is ColumnType.BYTES:
        elements = [f'"\\\\x{value.hex()}"' if isinstance(value, bytes) else "NULL" for value in values]
    else:
        elements = [_quoted(value) if isinstance(value, str) else "NULL" for value in values]
    return f"{{{','.join(elements)}}}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
