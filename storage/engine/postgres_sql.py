# SPDX-License-Identifier: Apache-2.0
"""Statements as PostgreSQL takes them: prepared once, then called with literals, arrays of them for a batch.

Literals are written here, for sessions with `standard_conforming_strings` and UTF-8.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence

import attrs

from storage.engine.statement import Batch, ColumnType, Row, Value

ROWS_AT_ONCE = 1_000
"""How many rows of a batch go into one statement."""

# A literal, a quoted name or a comment, in which `?` has no meaning; or the sign itself.
_PART = re.compile(r"'[^']*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|\?", re.DOTALL)
_SILENT = re.compile(r"\s*(INSERT|UPDATE|DELETE)\b(?!.*\bRETURNING\b)", re.IGNORECASE | re.DOTALL)
_ARRAYS = {ColumnType.INTEGER: "bigint[]", ColumnType.BYTES: "bytea[]", ColumnType.TEXT: "text[]"}
_TYPES: dict[type, str] = {int: "bigint", bool: "bigint", bytes: "bytea", str: "text"}


@attrs.frozen(cache_hash=True)
class Template:
    """A statement with `$1`, `$2` … for its parameters, and their types.

    `title` is what people read of it; `silent`: it gives no rows, so that nobody waits for its result.
    """

    text: str
    types: tuple[str, ...]
    title: str = attrs.field(eq=False)
    silent: bool = attrs.field(eq=False)


def single(sql: str, parameters: Sequence[Value]) -> Template:
    """The template of a statement with `?` for its parameters."""
    return _single(sql, tuple([_TYPES.get(type(value), "unknown") for value in parameters]))


@functools.lru_cache(maxsize=4096)
def _single(sql: str, types: tuple[str, ...]) -> Template:
    numbers = iter(range(1, len(types) + 1))
    text = _PART.sub(lambda part: f"${next(numbers)}" if part[0] == "?" else part[0], sql)
    return Template(text, types, title=sql, silent=False)


@functools.lru_cache(maxsize=4096)
def rendered(statement: Batch, with_base: bool) -> Template:
    """The template of a batch, whose parameters are the arrays of its columns."""
    arrays = ", ".join(f"${number}" for number in range(1, len(statement.columns) + 1))
    tables = f"v({statement.quoted_columns()}) AS (SELECT * FROM unnest({arrays}))"
    if with_base:
        tables += ", base(value) AS (SELECT current_setting('trellis.base')::bigint)"
    types = tuple(_ARRAYS[column_type] for column_type in statement.columns.values())
    silent = _SILENT.match(statement.sql) is not None
    return Template(statement.after(tables), types, title=statement.sql, silent=silent)


def literals(values: Sequence[Value]) -> str:
    """`values` as SQL, joined by commas."""
    return ", ".join(map(_literal, values))


def chunks(statement: Batch, rows: Sequence[Row]) -> Iterator[str]:
    """The columns of `rows` as SQL, a limited number of rows in each text.

    Raises `DataError` for a value that its column cannot hold.
    """
    for start in range(0, len(rows), ROWS_AT_ONCE):
        transposed = statement.transposed(rows[start : start + ROWS_AT_ONCE])
        yield ", ".join(map(_array, statement.columns.values(), transposed))


def _literal(value: Value) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(int(value))
    return f"'\\x{value.hex()}'" if isinstance(value, bytes) else _quoted(value)


def _quoted(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def _array(column_type: ColumnType, values: Sequence[Value]) -> str:
    if column_type is ColumnType.INTEGER:
        numbers = ",".join(map(str, values))
        return f"'{{{numbers.replace('None', 'NULL').replace('True', '1').replace('False', '0')}}}'"
    if column_type is ColumnType.BYTES:
        elements = [f'"\\\\x{value.hex()}"' if isinstance(value, bytes) else "NULL" for value in values]
        return f"'{{{','.join(elements)}}}'"
    elements = [_element(value) if isinstance(value, str) else "NULL" for value in values]
    return _quoted(f"{{{','.join(elements)}}}")


def _element(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
