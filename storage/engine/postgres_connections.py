# SPDX-License-Identifier: Apache-2.0
"""Connections to PostgreSQL: how each is set up, and what happens while the server is away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extensions import new_type, register_type

from storage.engine.errors import DatabaseUnavailable, UnsuitableDatabase

logger = logging.getLogger(__name__)

_OLDEST = 130_000
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0

_DEFAULTS: dict[str, str | int] = {
    "application_name": "trellis",
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# A stopped process must not hold locks for ever, nor a commit wait for them; a stronger synchronous_commit
# than `on` is the operator's choice. Statements find things by indexes. They are planned once, maybe while
# their tables are small, and a plan that reads whole tables must not be kept until they have grown.
_SET_UP = """
SET bytea_output = 'hex';
SET standard_conforming_strings = on;
SET jit = off;
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
SET random_page_cost = 1.1;
SET default_transaction_read_only = on;
SET idle_in_transaction_session_timeout = '10s';
SET lock_timeout = '20s';
SELECT set_config('synchronous_commit', 'on', false)
 WHERE current_setting('synchronous_commit') IN ('off', 'local')
"""


def _bytes(value: str | bytes | None, _cursor: Any) -> bytes | None:
    return bytes.fromhex(value[2:]) if isinstance(value, str) else None


def _number(value: str | bytes | None, _cursor: Any) -> int | float | None:
    if value is None:
        return None
    return int(value) if str(value).lstrip("-").isdigit() else float(value)


# bytea as bytes and not memoryview; the sum of bigints, a numeric, as int and not Decimal.
_BYTES = new_type((17,), "TRELLIS_BYTES", _bytes)
_NUMERIC = new_type((1700,), "TRELLIS_NUMERIC", _number)


def connection_parameters(arguments: Mapping[str, str | int]) -> dict[str, Any]:
    """What `psycopg2.connect` is called with, for `arguments` of the operator."""
    return {**_DEFAULTS, **arguments, "client_encoding": "UTF8"}


def connect(arguments: Mapping[str, str | int]) -> Connection:
    """A new connection, set up. Raises `UnsuitableDatabase` and what psycopg2 raises."""
    connection: Connection = psycopg2.connect(**connection_parameters(arguments))
    try:
        _check_suitable(connection)
        connection.autocommit = True  # BEGIN and COMMIT are our own
        register_type(_BYTES, connection)
        register_type(_NUMERIC, connection)
        with connection.cursor() as cursor:
            cursor.execute(_SET_UP)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_suitable(connection: Connection) -> None:
    if connection.server_version < _OLDEST:
        raise UnsuitableDatabase(f"PostgreSQL {_OLDEST // 10_000} or newer is needed")
    encoding = connection.get_parameter_status("server_encoding")
    if encoding != "UTF8":
        name = connection.info.dbname
        raise UnsuitableDatabase(
            f"the PostgreSQL database {name} has the encoding {encoding} and must have UTF8. Make a new one: "
            f"CREATE DATABASE {name} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )


class Connector:
    """Opens connections. While the server is away requests are refused at once, and a thread tries on.

    `arguments` are those of `psycopg2.connect`.
    """

    def __init__(self, arguments: Mapping[str, str | int]) -> None:
        self._arguments = arguments
        self._lock = threading.Lock()
        self._away: str | None = None
        self._warned = False
        self._closing = threading.Event()

    def connect(self) -> Connection:
        """A new connection. Raises `DatabaseUnavailable` and `UnsuitableDatabase`."""
        if self._away is not None:
            raise DatabaseUnavailable(self._away)
        try:
            connection = connect(self._arguments)
            self._warn_of_losses(connection)
            return connection
        except psycopg2.Error as error:
            away = f"cannot connect to PostgreSQL: {str(error).strip()}"
            self._went_away(away)
            raise DatabaseUnavailable(away) from error

    async def close(self) -> None:
        """End the attempts to connect."""
        self._closing.set()

    def _warn_of_losses(self, connection: Connection) -> None:
        """Say once when the server does not sync what it writes."""
        if self._warned:
            return
        self._warned = True
        with connection.cursor() as cursor:
            cursor.execute("SHOW fsync")
            if cursor.fetchone() == ("off",):
                logger.warning("PostgreSQL runs with fsync=off: a loss of power loses acknowledged writes")

    def _went_away(self, reason: str) -> None:
        with self._lock:
            if self._away is not None or self._closing.is_set():
                return
            self._away = reason
            threading.Thread(target=self._probe, name="postgresql-probe", daemon=True).start()
        logger.warning("%s; trying again until it answers", reason)

    def _probe(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._closing.wait(pause):
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            try:
                connect(self._arguments).close()
            except (psycopg2.Error, UnsuitableDatabase) as error:
                self._away = f"cannot connect to PostgreSQL: {str(error).strip()}"
            else:
                logger.warning("PostgreSQL answers again")
                self._away = None
                return
