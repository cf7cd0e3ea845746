# SPDX-License-Identifier: Apache-2.0
"""The endpoints that write and follow rooms, as the composition root builds them, with fixed tokens."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import attrs

from federation.http.endpoint import Endpoint, Requester
from homeserver.composition.ground import Ground
from homeserver.composition.reading import reading_endpoints
from homeserver.composition.rooms import writing_endpoints
from homeserver.composition.user_data import user_data_endpoints
from storage.engine.database import Database
from tests.support.http import Server
from tests.support.process_sets import first_of, serve_grounds, start_grounds, stop_grounds
from tests.support.reactor import in_reactor
from tests.support.room_server import User, ok

SERVER = "sync.example"
USERS = ("alice", "bob", "carol", "dan")


def user_id(name: str) -> str:
    """The id of the user with this name."""
    return f"@{name}:{SERVER}"


@attrs.frozen
class Client(User):
    """A user of a server that syncs."""

    def sync(self, since: str | None = None, **query: Any) -> Any:
        """The answer of a sync; a filter may be an object."""
        return ok(self.get(sync_path(since, **query)))

    def write(self, method: str, path: str, value: Any = None) -> Any:
        """A request that must succeed."""
        return ok(self.client.request(method, "/_matrix/client/v3" + path, {} if value is None else value))

    def join(self, room_id: str) -> None:
        """Join the room."""
        ok(self.membership("join", room_id))

    def leave(self, room_id: str) -> None:
        """Leave the room."""
        ok(self.membership("leave", room_id))

    def say(self, room_id: str, body: str, **content: Any) -> str:
        """Send a text message; returns its id."""
        path = f"/rooms/{quote(room_id)}/send/m.room.message/{quote(body)}"
        return str(self.write("PUT", path, {"msgtype": "m.text", "body": body, **content})["event_id"])

    def state(self, room_id: str, event_type: str, content: Any, state_key: str = "") -> str:
        """Set a key of the state; returns the event's id."""
        return str(ok(self.set_state(room_id, event_type, content, state_key))["event_id"])

    def account_data(self, event_type: str, content: Any, room_id: str | None = None) -> None:
        """Set account data, of a room or global."""
        room = "" if room_id is None else f"/rooms/{quote(room_id)}"
        self.write("PUT", f"/user/{quote(self.id)}{room}/account_data/{event_type}", content)

    def receipt(self, room_id: str, event_id: str, kind: str = "m.read", **body: Any) -> None:
        """Set a receipt."""
        self.write("POST", f"/rooms/{quote(room_id)}/receipt/{kind}/{quote(event_id)}", body)

    def typing(self, room_id: str, typing: bool, timeout: int = 20_000) -> None:
        """Begin or stop typing."""
        body = {"typing": typing, "timeout": timeout} if typing else {"typing": False}
        self.write("PUT", f"/rooms/{quote(room_id)}/typing/{quote(self.id)}", body)


def sync_path(since: str | None = None, **query: Any) -> str:
    """The path of a sync below the client API; `filter` may be an object."""
    if since is not None:
        query["since"] = since
    if isinstance(query.get("filter"), dict):
        query["filter"] = json.dumps(query["filter"])
    query = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
    return "/sync" + ("?" + urlencode(query) if query else "")


@attrs.frozen
class SyncServer:
    """A running server and its parts."""

    server: Server
    grounds: Sequence[Ground]
    tokens: Mapping[str, Requester]

    @property
    def ground(self) -> Ground:
        """What the first set of components stands on."""
        return first_of(self.grounds)

    def __getattr__(self, name: str) -> Client:
        """The user of this name; `alice2` is another device of Alice's."""
        if name not in self.tokens:
            raise AttributeError(name)
        return self.user(name)

    def user(self, name: str) -> Client:
        """The user of this name."""
        return Client(self.server.client(name), self.tokens[name])


async def _tokens(ground: Ground) -> dict[str, Requester]:
    numbers = await ground.storage.strings.intern(user_id(name) for name in USERS)
    return {
        name + suffix: Requester(
            user_id(name), numbers[user_id(name)], f"{name}{suffix}".upper(), 10 * i + len(suffix)
        )
        for i, name in enumerate(USERS, 1)
        for suffix in ("", "2")
    }


def _endpoints(ground: Ground) -> tuple[Endpoint, ...]:
    return (*writing_endpoints(ground), *reading_endpoints(ground), *user_data_endpoints(ground))


@contextlib.contextmanager
def sync_server(database: Database, directory: Path) -> Iterator[SyncServer]:
    """Serve over `database`, with a signing key in `directory`; several may follow each other."""
    settings = {"server_name": SERVER, "trusted_key_servers": []}
    grounds = in_reactor(start_grounds(settings, directory, database))
    try:
        tokens = in_reactor(_tokens(grounds[0]))
        with serve_grounds(grounds, _endpoints, tokens) as server:
            yield SyncServer(server, grounds, tokens)
    finally:
        in_reactor(stop_grounds(grounds))
