# SPDX-License-Identifier: Apache-2.0
"""A homeserver as a process of its own, which tests may kill and start again, and a client for it."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import attrs

from tests.support.postgres_cluster import free_port

SERVER_NAME = "trellis.test"
SECRET = "a secret of the tests"
_READY_SECONDS = 40
_ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """The environment of a server that is started in any directory."""
    return {**os.environ, "PYTHONPATH": str(_ROOT)}


class ServerProcess:
    """`python -m homeserver run` on a configuration of its own in `directory`.

    `also_listening` are listeners besides that for clients, `settings` further keys of the configuration,
    `options` further words of the command.
    """

    def __init__(
        self,
        directory: Path,
        database: dict[str, Any],
        *,
        also_listening: Sequence[Mapping[str, Any]] = (),
        options: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._directory = directory
        self._options = tuple(options)
        self._clients: list[ProcessClient] = []
        self._config = directory / "homeserver.yaml"
        self._log = directory / "homeserver.log"
        listener = {"port": self.port, "bind_addresses": ["127.0.0.1"], "type": "http"}
        configuration = {
            "server_name": SERVER_NAME,
            "listeners": [{**listener, "resources": [{"names": ["client", "health"]}]}, *also_listening],
            "database": database,
            "registration_shared_secret": SECRET,
            "signing_key_path": str(directory / "signing.key"),
            "media_store_path": str(directory / "media"),
            **settings,
        }
        self._config.write_text(json.dumps(configuration), encoding="utf-8")

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and return when it answers."""
        self.launch()
        self.wait_until_it_answers()

    def launch(self) -> None:
        """Start it, and return at once."""
        command = [sys.executable, "-m", "homeserver", "run", "--config", str(self._config), *self._options]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self._directory, env=environment(), stdout=log, stderr=log
            )

    def wait_until_it_answers(self) -> None:
        """Return when it answers, in 40 seconds at most."""
        assert self.process is not None
        deadline = time.monotonic() + _READY_SECONDS
        client = self.client()
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server did not start:\n{self.log()[-3000:]}"
            try:
                if client.request("GET", "/_matrix/client/versions").status == 200:
                    return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"the server does not answer:\n{self.log()[-3000:]}")

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def pause(self) -> None:
        """SIGSTOP: it does nothing any more, though all its connections stay."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: it goes on where it was."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """The exit status, once it has ended, in 15 seconds at most."""
        assert self.process is not None
        status = self.process.wait(15)
        self.process = None
        return status

    def remove(self) -> None:
        """End it, if it runs, at the end of a test, and close all clients."""
        for client in self._clients:
            client.close()
        if self.process is not None:
            self.kill()

    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    def client(self, token: str | None = None, user_id: str = "") -> ProcessClient:
        """A client with one connection, which it opens when first used."""
        client = ProcessClient(self.port, token, user_id)
        self._clients.append(client)
        return client

    def register(self, name: str) -> ProcessClient:
        """A client of a new user of this name, whose password is "password"."""
        answer = register(self.client(), SECRET, name)
        return self.client(answer["access_token"], answer["user_id"])


def register(anonymous: ProcessClient, secret: str, name: str, *, admin: bool = False) -> Any:
    """The answer to a registration of `name`, with the password "password", by the shared secret."""
    nonce = anonymous.json("GET", "/_synapse/admin/v1/register")["nonce"]
    parts = (nonce, name, "password", "admin" if admin else "notadmin")
    mac = hmac.new(secret.encode(), "\0".join(parts).encode(), hashlib.sha1).hexdigest()
    body = {"nonce": nonce, "username": name, "password": "password", "admin": admin, "mac": mac}
    return anonymous.json("POST", "/_synapse/admin/v1/register", body)


@attrs.frozen
class Answer:
    """Status, body and headers of an answer."""

    status: int
    body: bytes
    headers: http.client.HTTPMessage = attrs.field(repr=False)

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def _is_closed(connection: socket.socket | None) -> bool:
    """Whether the other side has closed it: nothing else is to be read while nothing is asked."""
    if connection is None:
        return False
    readable, _, _ = select.select([connection], [], [], 0)
    return bool(readable)


@attrs.define
class ProcessClient:
    """Makes requests over one connection, one at a time."""

    port: int
    token: str | None = None
    user_id: str = ""
    timeout: float = 30
    _connection: http.client.HTTPConnection | None = None

    def request(self, method: str, path: str, value: Any = None, **query: Any) -> Answer:
        """One request and its answer. Raises `OSError` and `HTTPException` when the connection breaks.

        One that was closed between two requests is opened again, as by every client.
        """
        if self._connection is not None and _is_closed(self._connection.sock):
            self.close()
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            body = None if value is None else json.dumps(value)
            self._connection.request(method, target, body, headers)
            answer = self._connection.getresponse()
            return Answer(answer.status, answer.read(), answer.headers)
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def json(self, method: str, path: str, value: Any = None, **query: Any) -> Any:
        """The body of an answer that must be 200."""
        answer = self.request(method, path, value, **query)
        assert answer.status == 200, (method, path, answer)
        return answer.json

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def create_room(self, **options: Any) -> str:
        """A new public room."""
        body = {"preset": "public_chat", **options}
        room_id: str = self.json("POST", "/_matrix/client/v3/createRoom", body)["room_id"]
        return room_id

    def join(self, room_id: str) -> None:
        """Join a room."""
        self.json("POST", f"/_matrix/client/v3/join/{quote(room_id)}", {})

    def send(self, room_id: str, txn_id: str, body: str) -> Answer:
        """Send a text message."""
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/send/m.room.message/{quote(txn_id)}"
        return self.request("PUT", path, {"msgtype": "m.text", "body": body})

    def messages(
        self, room_id: str, *, backwards: bool = False, start: str = "", limit: int = 100
    ) -> Iterator[dict[str, Any]]:
        """All events of the room in order, from the token `start` or from its end."""
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/messages"
        query = {"dir": "b" if backwards else "f", "limit": str(limit)}
        if start:
            query["from"] = start
        while True:
            page = self.json("GET", path, **query)
            yield from page["chunk"]
            if "end" not in page:
                return
            query["from"] = page["end"]
