# SPDX-License-Identifier: Apache-2.0
"""The server's own endpoints, as the composition root builds them, with a fixed token for each user."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from federation.http.endpoint import Endpoint, Requester
from homeserver.composition.ground import Ground
from homeserver.composition.reading import reading_endpoints
from homeserver.composition.rooms import writing_endpoints
from homeserver.composition.user_data import build_propagation, profile_endpoints, user_data_endpoints
from homeserver.rooms.turns import Turns
from storage.accounts import Account
from storage.engine.database import Database
from storage.persist import Unit
from storage.stores import Storage
from tests.support.http import Response, Server
from tests.support.process_sets import first_of, serve_grounds, start_grounds, stop_grounds
from tests.support.reactor import in_reactor
from tests.support.room_server import CLIENT, User, ok

SERVER = "a.example"
USERS = ("alice", "bob", "carol")


@attrs.frozen
class Reader(User):
    """One user's requests, those to read included."""

    def delete(self, path: str, value: Any = None) -> Response:
        """A DELETE below the client API."""
        return self.client.delete(CLIENT + path, value)

    def room(self, room_id: str, path: str = "") -> Response:
        """A GET below `/rooms/{roomId}`."""
        return self.get(f"/rooms/{quote(room_id)}{path}")

    def say(self, room_id: str, *bodies: str) -> list[str]:
        """Send a text message for each of `bodies`; returns the event ids."""
        return [str(ok(self.send(room_id, f"say {body}", body))["event_id"]) for body in bodies]

    def page(self, room_id: str, query: str = "dir=b") -> Any:
        """A page of `/messages`."""
        return ok(self.room(room_id, f"/messages?{query}"))

    def bodies(self, room_id: str, query: str = "dir=b&limit=100") -> list[str]:
        """The texts of the messages on a page."""
        return [
            event["content"]["body"]
            for event in self.page(room_id, query)["chunk"]
            if event["type"] == "m.room.message"
        ]


@attrs.frozen
class AppServer:
    """A running server."""

    server: Server
    grounds: Sequence[Ground]
    tokens: Mapping[str, Requester]

    def __getattr__(self, name: str) -> Reader:
        """The user of this name."""
        if name not in self.tokens:
            raise AttributeError(name)
        return Reader(self.server.client(name), self.tokens[name])

    @property
    def ground(self) -> Ground:
        """What the first set of components stands on."""
        return first_of(self.grounds)

    @property
    def storage(self) -> Storage:
        """What is kept."""
        return self.ground.storage

    def write(self, *records: Any, positions: int = 0) -> None:
        """Write records as one unit."""

        async def submit() -> None:
            await self.ground.write_queue.submit(Unit(records=records, positions=positions))

        in_reactor(submit())

    def shared_room(self, **options: Any) -> str:
        """A room of Alice's that Bob and Carol are joined to as well."""
        room_id = self.alice.create_room(preset="public_chat", **options)
        for user in (self.bob, self.carol):
            ok(user.membership("join", room_id))
        return room_id


@contextlib.contextmanager
def app_server(database: Database, **settings: Any) -> Iterator[AppServer]:
    """Serve over `database`, with further `settings` of the configuration."""
    with tempfile.TemporaryDirectory() as directory:
        grounds = in_reactor(start_grounds({"server_name": SERVER, **settings}, Path(directory), database))
        tokens = in_reactor(_tokens(grounds[0]))
        with serve_grounds(grounds, lambda ground: in_reactor(_endpoints(ground)), tokens) as server:
            try:
                yield AppServer(server, grounds, tokens)
            finally:
                in_reactor(stop_grounds(grounds))


async def _endpoints(ground: Ground) -> Sequence[Endpoint]:
    turns = Turns()
    propagation = build_propagation(ground, turns)
    await propagation.resume()
    return (
        *writing_endpoints(ground),
        *reading_endpoints(ground),
        *user_data_endpoints(ground),
        *profile_endpoints(ground, propagation, turns),
    )


async def _tokens(ground: Ground) -> dict[str, Requester]:
    ids = {name: f"@{name}:{SERVER}" for name in (*USERS, "dora", "guest", "admin")}
    numbers = await ground.storage.strings.intern(ids.values())
    tokens = {
        name: Requester(user_id, numbers[user_id], device_id=name.upper(), device=i)
        for i, (name, user_id) in enumerate(ids.items(), 1)
    }
    tokens["guest"] = attrs.evolve(tokens["guest"], is_guest=True)
    tokens["admin"] = attrs.evolve(tokens["admin"], is_admin=True)
    strangers = {
        requester
        for requester in tokens.values()
        if await ground.storage.accounts.get(requester.user) is None
    }
    accounts = [Account(requester.user, created_ts=1) for requester in strangers]
    await ground.write_queue.submit(Unit(records=accounts))
    return tokens
