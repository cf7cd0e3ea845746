# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL databases that tests use one after the other: emptying one takes a tenth of making another."""

from __future__ import annotations

import os
from typing import Any

import attrs
import psycopg2
from psycopg2 import sql

from tests.support.postgres_cluster import run_sql

Arguments = dict[str, str | int]

_SHAPE = """
    SELECT md5(string_agg(what, ',' ORDER BY what)) FROM (
        SELECT concat(relname, relkind, relnatts) AS what FROM pg_class
         WHERE relnamespace = 'public'::regnamespace
        UNION ALL
        SELECT concat(proname, prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    ) AS things
"""
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
_SEQUENCES = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'"
_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
)


@attrs.frozen
class _Content:
    """What a database holds that nobody has used: its shape, and the rows of its tables."""

    shape: str
    tables: tuple[str, ...]
    sequences: tuple[str, ...]
    rows: dict[str, list[tuple[Any, ...]]]


@attrs.frozen(eq=False)
class PostgresPool:
    """Databases on one server that are made from one template."""

    server: Arguments
    template: str
    _idle: list[str] = attrs.field(factory=list)
    _made: list[str] = attrs.field(factory=list)
    _fresh: list[_Content] = attrs.field(factory=list)

    def take(self) -> str:
        """The name of a database as the template is."""
        if self._idle:
            return self._idle.pop()
        name = f"{self.template}_{os.getpid()}_{len(self._made)}"
        self._administer(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE {self.template}")
        self._made.append(name)
        if not self._fresh:
            self._fresh.append(self._look(name))
        return name

    def give_back(self, name: str) -> None:
        """The database may be used again; one whose schema was changed is thrown away."""
        if self._emptied(name):
            self._idle.append(name)
        else:
            self._administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def drop_all(self) -> None:
        """Take all databases off the server."""
        for name in self._made:
            self._administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _administer(self, statement: str) -> None:
        run_sql({**self.server, "dbname": "postgres"}, statement)

    def _look(self, name: str) -> _Content:
        connection = psycopg2.connect(**self.server, dbname=name)
        try:
            with connection, connection.cursor() as cursor:
                shape = _column(cursor, _SHAPE)[0]
                tables, sequences = _column(cursor, _TABLES), _column(cursor, _SEQUENCES)
                rows = {}
                for table in tables:
                    cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
                    rows[table] = cursor.fetchall()
                return _Content(shape, tuple(tables), tuple(sequences), rows)
        finally:
            connection.close()

    def _emptied(self, name: str) -> bool:
        """Put the rows of a fresh database in place of all others; returns whether that can be done."""
        fresh = self._fresh[0]
        try:
            connection = psycopg2.connect(**self.server, dbname=name)
        except psycopg2.OperationalError:
            return False
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(_OTHERS, (name,))
                if _column(cursor, _SHAPE)[0] != fresh.shape:
                    return False
                for statement in self._statements(fresh):
                    cursor.execute(*statement)
            return True
        finally:
            connection.close()

    def _statements(self, fresh: _Content) -> list[tuple[Any, ...]]:
        deletes = [sql.SQL("DELETE FROM {}").format(sql.Identifier(table)) for table in fresh.tables]
        restarts = [sql.SQL("ALTER SEQUENCE {} RESTART").format(sql.Identifier(s)) for s in fresh.sequences]
        statements: list[tuple[Any, ...]] = [(sql.SQL("; ").join(deletes + restarts),)]
        for table, rows in fresh.rows.items():
            for row in rows:
                values = sql.SQL(", ").join(sql.Placeholder() * len(row))
                insert = sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(table), values)
                statements.append((insert, row))
        return statements


def _column(cursor: Any, statement: str) -> list[Any]:
    cursor.execute(statement)
    return [value for (value,) in cursor.fetchall()]
