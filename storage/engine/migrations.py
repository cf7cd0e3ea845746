# SPDX-License-Identifier: Apache-2.0
"""The schema's migrations: numbered files of SQL, each run in a transaction of its own and recorded.

`0003_name.sql` is for both engines; `0003_name.sqlite.sql` and `0003_name.postgresql.sql` run after it, in
the same transaction, on one engine. In them the words BYTES, NUMBER and WITHOUT_ROWID stand for what each
engine calls it (BLOB or BYTEA, INTEGER or BIGINT, WITHOUT ROWID or nothing).

A line `-- compat: 2` says that programs of version 2 and later can still work with the database after this
migration; without it, only those that know the migration can.
"""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from storage.engine.database import Database, Dialect, Transaction
from storage.engine.errors import UnsuitableDatabase

SCHEMA = Path(__file__).parent.parent / "schema"
"""The directory of the homeserver's own migrations."""

_FILE = re.compile(r"(?P<number>\d{4})_\w+(?:\.(?P<engine>\w+))?\.sql").fullmatch
_COMPAT = re.compile(r"^-- compat: (\d+)$", re.MULTILINE)
_WORDS: dict[Dialect, dict[str, str]] = {
    "sqlite": {"BYTES": "BLOB", "NUMBER": "INTEGER", "WITHOUT_ROWID": "WITHOUT ROWID"},
    "postgresql": {"BYTES": "BYTEA", "NUMBER": "BIGINT", "WITHOUT_ROWID": ""},
}
# A literal, a quoted name or a comment, which stay as they are; or one of the words.
_PART = re.compile(r"'[^']*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|\b(BYTES|NUMBER|WITHOUT_ROWID)\b", re.DOTALL)
_LOCK = 0x7472656C6C6973  # "trellis"
_TABLE = (
    "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, compat_version BIGINT NOT NULL)"
)


@attrs.frozen
class Migration:
    """One step of the schema: its number, the oldest program that can work with the result, its SQL."""

    version: int
    compat_version: int
    scripts: tuple[str, ...]


def load_migrations(directory: Path, dialect: Dialect) -> tuple[Migration, ...]:
    """The migrations in `directory` for one engine, in order.

    Raises `ValueError` for a file whose name is not understood.
    """
    files: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(
        directory.glob("*.sql"), key=lambda path: (path.name[:4], path.name.count("."), path.name)
    ):
        name = _FILE(path.name)
        engine = name["engine"] if name else None
        if name is None or engine not in (None, *_WORDS):
            raise ValueError(f"{path} is not the name of a migration")
        chosen = files[int(name["number"])]
        if engine in (None, dialect):
            chosen.append(path)
    return tuple(_load(version, files[version], dialect) for version in sorted(files))


def _load(version: int, paths: Sequence[Path], dialect: Dialect) -> Migration:
    texts = [path.read_text(encoding="utf-8") for path in paths]
    declared = [int(compat) for text in texts for compat in _COMPAT.findall(text)]
    return Migration(
        version, max(declared, default=version), tuple(in_dialect(text, dialect) for text in texts)
    )


def in_dialect(sql: str, dialect: Dialect) -> str:
    """`sql` with the words for types as the engine calls them."""
    words = _WORDS[dialect]
    return _PART.sub(lambda part: words[part[1]] if part[1] else part[0], sql)


def statements(script: str) -> Iterator[str]:
    """The single statements of a script for SQLite, which takes one at a time."""
    begin = 0
    for end in (match.end() for match in re.finditer(";", script)):
        if sqlite3.complete_statement(script[begin:end]):
            yield script[begin:end]
            begin = end
    if re.sub(r"--[^\n]*|/\*.*?\*/|\s", "", script[begin:], flags=re.DOTALL):
        yield script[begin:]


async def migrate(database: Database, directory: Path = SCHEMA) -> None:
    """Bring the schema of `database` to the newest version in `directory`.

    Several processes may do so at once: each migration runs once. Raises `UnsuitableDatabase` when the
    database is from a newer program.
    """
    migrations = load_migrations(directory, database.dialect)
    while await database.write("migrate", lambda transaction: _next_step(transaction, migrations)):
        pass


def _next_step(transaction: Transaction, migrations: Sequence[Migration]) -> bool:
    """Run the first migration that was not run yet; whether there was one."""
    if transaction.dialect == "postgresql":
        transaction.execute("SET LOCAL lock_timeout = 0")
        transaction.rows("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
    transaction.execute(_TABLE)
    done = transaction.rows("SELECT version, compat_version FROM schema_version")
    newest = max((migration.version for migration in migrations), default=0)
    if max((compat_version for _, compat_version in done), default=0) > newest:
        raise UnsuitableDatabase(
            f"the database has schema version {max(done)[0]}, and this program knows those up to {newest}: "
            "install a newer release, or restore the backup that was made before the upgrade"
        )
    versions = {version for version, _ in done}
    waiting = [migration for migration in migrations if migration.version not in versions]
    if not waiting:
        return False
    _run(transaction, waiting[0])
    return True


def _run(transaction: Transaction, migration: Migration) -> None:
    for script in migration.scripts:
        parts = [script] if transaction.dialect == "postgresql" else statements(script)
        for part in parts:
            transaction.execute(part)
    transaction.execute(
        "INSERT INTO schema_version (version, compat_version) VALUES (?, ?)",
        (migration.version, migration.compat_version),
    )
