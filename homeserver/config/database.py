# SPDX-License-Identifier: Apache-2.0
"""The database that everything is kept in."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from homeserver.config.keys import key, read_keys, read_record
from homeserver.config.kinds import LARGEST_INTEGER, Integer, OneOf, PathName, is_clean
from homeserver.config.known import words
from homeserver.config.place import Place
from homeserver.config.unknown import note_unknown
from storage.engine.database import DatabaseSettings

# What libpq takes as connection parameters, `database` and its older name besides.
LIBPQ = words(
    """
    application_name channel_binding client_encoding connect_timeout database dbname gssencmode
    gsslib host hostaddr keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname
    load_balance_hosts options passfile password port requirepeer require_auth service
    ssl_max_protocol_version ssl_min_protocol_version sslcert sslcertmode sslcompression sslcrl
    sslcrldir sslkey sslmode sslnegotiation sslpassword sslrootcert sslsni target_session_attrs
    tcp_user_timeout user
    """
)

# One of the connections writes, the others read.
CP_MAX = key(Integer(minimum=2, maximum=1000), """How many connections are opened.""", default=5)


@attrs.frozen(kw_only=True)
class SqliteArguments:
    """What SQLite is told."""

    database: Path = key(PathName(), """The database's file.""", default="homeserver.db")
    cp_max: int = CP_MAX


@attrs.frozen(kw_only=True)
class PostgresArguments:
    """What is said about PostgreSQL besides libpq's own parameters."""

    cp_max: int = CP_MAX


@attrs.frozen
class Arguments:
    """The mapping `args` as it stands; what is in it depends on the database's name."""

    expected: str = attrs.field(default="a mapping with the arguments of the database", init=False)

    def read(self, value: object, at: Place) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise at.wrong(value, self.expected)
        return value


@attrs.frozen(kw_only=True)
class DatabaseKeys:
    """The database as the configuration writes it."""

    name: str = key(
        OneOf(("sqlite3", "psycopg2")),
        """sqlite3 (one file, one process; for small servers) or psycopg2 (PostgreSQL).""",
        default="sqlite3",
    )
    synchronous: str = key(
        OneOf(("full", "normal")),
        """SQLite: full means that what was acknowledged survives a power cut; normal is faster and may lose
        the last moments.""",
        default="full",
    )
    args: dict[str, Any] = key(
        Arguments(),
        """SQLite: database, the path of its file. PostgreSQL: user, password, dbname, host, port and
        whatever else libpq takes. Both: cp_max, how many connections are opened (5).""",
        default={"database": "homeserver.db"},
    )


def _sqlite(keys: DatabaseKeys, at: Place) -> DatabaseSettings:
    arguments = read_record(SqliteArguments, keys.args, at)
    if keys.args.get("database") == ":memory:":
        raise at.child("database").error("a database in memory loses everything at the stop, expected a path")
    return DatabaseSettings(
        engine="sqlite",
        path=str(arguments.database),
        readers=arguments.cp_max - 1,
        synchronous="FULL" if keys.synchronous == "full" else "NORMAL",
    )


def _is_parameter(value: object) -> bool:
    if isinstance(value, str):
        return is_clean(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_INTEGER


def _postgres(keys: DatabaseKeys, at: Place) -> DatabaseSettings:
    note_unknown(keys.args, [*LIBPQ, "cp_max"], at)
    parameters: dict[str, str | int] = {}
    for name in sorted(LIBPQ & keys.args.keys()):
        value = keys.args[name]
        if not _is_parameter(value):
            raise at.child(name, secret=True).wrong(value, "a text or a whole number")
        parameters["dbname" if name == "database" else name] = value
    readers = read_keys(PostgresArguments, keys.args, at).cp_max - 1
    return DatabaseSettings(engine="postgresql", arguments=MappingProxyType(parameters), readers=readers)


@attrs.frozen
class DatabaseKind:
    """The database: which engine, and what that is told."""

    record: type[DatabaseKeys] = attrs.field(default=DatabaseKeys, init=False)
    expected: str = attrs.field(default="a mapping with name and args", init=False)

    def read(self, value: object, at: Place) -> DatabaseSettings:
        keys = read_record(DatabaseKeys, value, at)
        if keys.name == "sqlite3":
            return _sqlite(keys, at.child("args"))
        if isinstance(value, dict) and value.get("args") is None:
            raise at.child("args").error("is missing, expected user, password, dbname and host")
        return _postgres(keys, at.child("args"))


@attrs.frozen(kw_only=True)
class DatabaseConfig:
    """Where everything but media is kept."""

    database: DatabaseSettings = key(
        DatabaseKind(),
        """The database. It holds everything but the media: back it up.""",
        default={"name": "sqlite3", "args": {"database": "homeserver.db"}},
        example={
            "name": "psycopg2",
            "args": {"user": "trellis", "password": "secret", "dbname": "trellis", "host": "localhost"},
        },
    )
