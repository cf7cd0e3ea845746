# SPDX-License-Identifier: Apache-2.0
"""The least that a durable server on `twisted.web` can do per request.

An event costs decoding its body, hashing, one signature and a row in the next group commit; everything else
is answered with a constant. Run as `python -m tests.bench.servers.bare_site PORT DATABASE`, the latter being
the `database` section of a homeserver.yaml as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import psycopg2
import psycopg2.extras
from nacl.signing import SigningKey
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from unpaddedbase64 import encode_base64

Row = tuple[bytes, bytes]

_encoder = msgspec.json.Encoder(order="sorted")
_decode = msgspec.json.Decoder().decode


def open_sqlite(arguments: dict[str, Any]) -> Callable[[Sequence[Row]], None]:
    """A function that commits rows to SQLite in WAL mode with `synchronous=FULL`, in one statement."""
    connection = sqlite3.connect(arguments["database"], isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, id BLOB UNIQUE, json BLOB)"
    )

    def commit(rows: Sequence[Row]) -> None:
        places = ",".join(["(?,?)"] * len(rows))
        connection.execute(
            f"INSERT INTO events (id, json) VALUES {places}", [value for row in rows for value in row]
        )

    return commit


def open_postgres(arguments: dict[str, Any]) -> Callable[[Sequence[Row]], None]:
    """A function that commits rows to PostgreSQL in one statement."""
    names = ("user", "host", "port", "database")
    connection = psycopg2.connect(**{name: arguments[name] for name in names})
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(
        "CREATE TABLE IF NOT EXISTS events (number BIGSERIAL PRIMARY KEY, id BYTEA UNIQUE, json BYTEA)"
    )

    def commit(rows: Sequence[Row]) -> None:
        psycopg2.extras.execute_values(
            cursor, "INSERT INTO events (id, json) VALUES %s", rows, page_size=len(rows)
        )

    return commit


class GroupCommit:
    """Rows that wait while a commit is under way go into the next one together."""

    def __init__(self, commit: Callable[[Sequence[Row]], None]) -> None:
        self._commit = commit
        self._waiting: list[tuple[Row, Deferred[None]]] = []
        self._busy = False

    def add(self, row: Row) -> Deferred[None]:
        """Fires when `row` is on disk."""
        done: Deferred[None] = Deferred()
        self._waiting.append((row, done))
        if not self._busy:
            self._go()
        return done

    def _go(self) -> None:
        batch, self._waiting = self._waiting[:10_000], self._waiting[10_000:]
        self._busy = True
        committing = deferToThread(self._commit, [row for row, _ in batch])
        committing.addCallback(self._committed, batch).addErrback(self._failed)

    def _committed(self, _: None, batch: list[tuple[Row, Deferred[None]]]) -> None:
        self._busy = False
        if self._waiting:
            self._go()
        for _row, done in batch:
            done.callback(None)

    def _failed(self, failure: Failure) -> None:
        """A limit that loses events is none."""
        failure.printTraceback()
        reactor.stop()


class Everything(Resource):
    """One resource for all paths."""

    isLeaf = True  # noqa: N815 - twisted's name

    def __init__(self, disk: GroupCommit) -> None:
        super().__init__()
        self._disk = disk
        self._key = SigningKey.generate()
        self._count = 0

    def render_GET(self, request: Request) -> bytes:  # noqa: N802 - twisted's name
        request.setHeader(b"content-type", b"application/json")
        self._count += 1
        if b"/sync" in request.path:
            return b'{"next_batch":"s%d","rooms":{}}' % self._count
        return b'{"nonce":"n","versions":["v1.11"],"event_id":"$e"}'

    def render_POST(self, request: Request) -> bytes:  # noqa: N802 - twisted's name
        request.setHeader(b"content-type", b"application/json")
        self._count += 1
        answer = {
            "user_id": f"@u{self._count}:bench.localhost",
            "access_token": f"token{self._count}",
            "room_id": f"!r{self._count}:bench.localhost",
        }
        return json.dumps(answer).encode()

    def render_PUT(self, request: Request) -> int:  # noqa: N802 - twisted's name
        assert request.content is not None
        event_id, event = self._build(request.path, _decode(request.content.read()))

        def answer(_: None) -> None:
            request.setHeader(b"content-type", b"application/json")
            request.write(b'{"event_id":"%b"}' % event_id)
            request.finish()

        self._disk.add((event_id, event)).addCallback(answer)
        return NOT_DONE_YET

    def _build(self, path: bytes, content: dict[str, Any]) -> Row:
        self._count += 1
        _, _, _, _, _, room_id, _, event_type, *_ = path.decode().split("/")
        event: dict[str, Any] = {
            "auth_events": ["$" + "a" * 43, "$" + "b" * 43, "$" + "c" * 43],
            "content": content,
            "depth": self._count,
            "hashes": {},
            "origin_server_ts": int(time.time() * 1000),
            "prev_events": ["$" + "p" * 43],
            "room_id": room_id,
            "sender": "@user:bench.localhost",
            "type": event_type,
        }
        event["hashes"]["sha256"] = encode_base64(hashlib.sha256(_encoder.encode(event)).digest())
        to_sign = _encoder.encode(event)
        signature = encode_base64(self._key.sign(to_sign).signature)
        event["signatures"] = {"bench.localhost": {"ed25519:1": signature}}
        event_id = b"$" + encode_base64(hashlib.sha256(to_sign).digest(), urlsafe=True).encode()
        return event_id, _encoder.encode(event)


def main(port: str, database: str) -> None:
    """Serve on 127.0.0.1 until SIGTERM."""
    configuration = json.loads(database)
    opens = {"sqlite3": open_sqlite, "psycopg2": open_postgres}
    disk = GroupCommit(opens[configuration["name"]](configuration["args"]))
    reactor.listenTCP(int(port), Site(Everything(disk), timeout=600), interface="127.0.0.1", backlog=1000)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
