# SPDX-License-Identifier: Apache-2.0
"""Takes a process that has died out of the table of those that serve, on behalf of whoever saw it die."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import psycopg2

from storage.engine.errors import DatabaseUnavailable

_CONNECT_SECONDS = 3
_STATEMENT = "SET lock_timeout = '3s'; SET statement_timeout = '3s'; DELETE FROM processes WHERE process = %s"


def remove_gone_process(arguments: Mapping[str, str | int], process: str) -> None:
    """Delete the row of `process` in the PostgreSQL database that `arguments` lead to. It blocks.

    The others would find out too, after some seconds without a heartbeat. Raises `DatabaseUnavailable`.
    """
    parameters: dict[str, Any] = {
        "application_name": "trellis",
        **arguments,
        "connect_timeout": _CONNECT_SECONDS,
    }
    try:
        connection = psycopg2.connect(**parameters)
        with contextlib.closing(connection), connection, connection.cursor() as cursor:
            cursor.execute(_STATEMENT, (process,))
    except psycopg2.Error as error:
        raise DatabaseUnavailable(" ".join(str(error).split())) from None
