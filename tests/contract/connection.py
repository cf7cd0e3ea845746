# SPDX-License-Identifier: Apache-2.0
"""What these tests need of a server: requests as bytes, answers as bytes, and users who are logged in."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import attrs

CLIENT = "/_matrix/client/v3"
PASSWORD = "correct horse battery staple"


@attrs.frozen
class Reply:
    """An answer as it came over the wire. The names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """The `Content-Type` header, empty if there is none."""
        return self.headers.get("content-type", "")

    @property
    def json(self) -> Any:
        """The body decoded; raises `ValueError` if it is no JSON."""
        return json.loads(self.body)


class Connection(Protocol):
    """A running server. `path` and `query` come percent-encoded and go out as they are."""

    @property
    def server_name(self) -> str:
        """The name of the server, as its user IDs have it."""

    async def request(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """Make one request; raises whatever the transport raises if there is no answer."""


class SetupError(AssertionError):
    """A request that prepares a test did not succeed."""


@attrs.frozen
class User:
    """A logged-in user, who makes requests with their access token."""

    connection: Connection
    user_id: str
    device_id: str
    token: str

    @property
    def localpart(self) -> str:
        """The user ID without sigil and server name."""
        return self.user_id[1:].partition(":")[0]

    @property
    def authorization(self) -> dict[str, str]:
        """The header that carries the access token."""
        return {"Authorization": f"Bearer {self.token}"}

    async def ask(
        self, method: str, path: str, value: Any = None, query: Mapping[str, str] | None = None
    ) -> Any:
        """Return the decoded answer of a request that must succeed; raises `SetupError`."""
        return await ask(self.connection, method, path, value, query, self.authorization)

    async def log_in_again(self) -> User:
        """Return the same user with a new device and a new token."""
        return await log_in(self.connection, self.localpart)

    async def create_room(self, **options: Any) -> str:
        """Return the ID of a new room, which is public if `options` say nothing else."""
        options = {"preset": "public_chat", **options}
        return str((await self.ask("POST", f"{CLIENT}/createRoom", options))["room_id"])

    async def send(self, room_id: str, body: str = "hello") -> str:
        """Return the ID of a new message."""
        path = f"{CLIENT}/rooms/{quote(room_id)}/send/m.room.message/{new_name()}"
        return str((await self.ask("PUT", path, {"msgtype": "m.text", "body": body}))["event_id"])

    async def join(self, room_id: str) -> None:
        """Join a room of this server."""
        await self.ask("POST", f"{CLIENT}/rooms/{quote(room_id)}/join", {})

    async def make_alias(self, room_id: str) -> str:
        """Return a new alias that points to the room."""
        alias = f"#{new_name()}:{self.connection.server_name}"
        await self.ask("PUT", f"{CLIENT}/directory/room/{quote(alias)}", {"room_id": room_id})
        return alias


async def ask(
    connection: Connection,
    method: str,
    path: str,
    value: Any = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    status: int = 200,
) -> Any:
    """Return the decoded answer of a request that must have `status`; raises `SetupError`."""
    body = b"" if value is None else json.dumps(value).encode()
    reply = await connection.request(method, path, urlencode(query or {}), headers or {}, body)
    if reply.status != status:
        raise SetupError(f"{method} {path} answered {reply.status} instead of {status}: {reply.body[:500]!r}")
    return reply.json


def new_name() -> str:
    """Return a name that no other thing on the server has."""
    return "c" + secrets.token_hex(8)


async def register(connection: Connection) -> User:
    """Return a new user, by the way that the specification has for people: the stage `m.login.dummy`."""
    request = {"username": new_name(), "password": PASSWORD}
    path = f"{CLIENT}/register"
    asked = await ask(connection, "POST", path, request, status=401)
    auth = {"type": "m.login.dummy", "session": asked["session"]}
    return _user(connection, await ask(connection, "POST", path, {**request, "auth": auth}))


async def log_in(connection: Connection, localpart: str) -> User:
    """Return a user with a new device."""
    request = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": localpart},
        "password": PASSWORD,
    }
    return _user(connection, await ask(connection, "POST", f"{CLIENT}/login", request))


def _user(connection: Connection, answer: Mapping[str, str]) -> User:
    return User(
        connection=connection,
        user_id=answer["user_id"],
        device_id=answer["device_id"],
        token=answer["access_token"],
    )
