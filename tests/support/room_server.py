# SPDX-License-Identifier: Apache-2.0
"""A server of all endpoints that write into rooms, over a database, with a fixed token for each user."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from federation.http.endpoint import Requester
from homeserver.accounts.limits import Limits
from homeserver.composition.ground import Ground
from homeserver.composition.rooms import writing_endpoints
from homeserver.feed.feed import Feed
from storage.engine.database import Database
from storage.event import StoredEvent
from storage.events import BEGINNING, END
from storage.persist import Unit
from storage.stores import Storage
from storage.write_queue import Committed
from tests.support.http import Client, Response, Server
from tests.support.process_sets import first_of, serve_grounds, start_grounds, stop_grounds
from tests.support.reactor import in_reactor

SERVER = "a.example"
CLIENT = "/_matrix/client/v3"
USERS = ("alice", "bob", "carol", "dan", "admin", "sam", "bridge")


@attrs.frozen
class Parts:
    """The sets of components, one but for tests of several, and what was committed, in order."""

    grounds: Sequence[Ground]
    _committed: list[Committed]
    tokens: Mapping[str, Requester]

    @property
    def committed(self) -> list[Committed]:
        """What the first set has heard of."""
        first_of(self.grounds)
        return self._committed

    @property
    def ground(self) -> Ground:
        """What the first set stands on."""
        return first_of(self.grounds)

    @property
    def storage(self) -> Storage:
        """What is kept."""
        return self.ground.storage

    @property
    def feed(self) -> Feed:
        """What has changed, for whom."""
        return self.ground.feed


async def parts_over(
    database: Database, directory: Path, *, limits: Limits | None = None, forget_on_leave: bool = False
) -> Parts:
    """The components over `database`, as the composition root builds them, with a key in `directory`."""
    settings = {"server_name": SERVER, "forget_rooms_on_leave": forget_on_leave}
    committed: list[Committed] = []
    grounds = await start_grounds(settings, directory, database, followers=[committed.extend])
    if limits is not None:
        grounds = tuple(attrs.evolve(ground, limits=limits) for ground in grounds)
    return Parts(grounds, committed, await _tokens(grounds[0].storage))


async def _tokens(storage: Storage) -> dict[str, Requester]:
    """Each user by name; Alice's second device, and Sam before he was suspended."""
    ids = {name: f"@{name}:{SERVER}" for name in USERS}
    numbers = await storage.strings.intern(ids.values())
    tokens = {
        name: Requester(user_id, numbers[user_id], device_id=name.upper(), device=i)
        for i, (name, user_id) in enumerate(ids.items(), 1)
    }
    tokens["alice2"] = attrs.evolve(tokens["alice"], device_id="ALICE2", device=100)
    tokens["admin"] = attrs.evolve(tokens["admin"], is_admin=True)
    tokens["sam_before"] = tokens["sam"]
    tokens["sam"] = attrs.evolve(tokens["sam"], is_suspended=True)
    tokens["bridge"] = attrs.evolve(tokens["bridge"], device_id=None, device=None, app_service="bridge")
    return tokens


@attrs.frozen
class User:
    """One user's requests."""

    client: Client
    requester: Requester

    @property
    def id(self) -> str:
        """The user id."""
        return self.requester.user_id

    def post(self, path: str, value: Any = None) -> Response:
        """A POST below the client API."""
        return self.client.post(CLIENT + path, {} if value is None else value)

    def put(self, path: str, value: Any = None, **options: Any) -> Response:
        """A PUT below the client API."""
        return self.client.put(CLIENT + path, value, **options)

    def get(self, path: str) -> Response:
        """A GET below the client API."""
        return self.client.get(CLIENT + path)

    def create_room(self, **options: Any) -> str:
        """The id of a new room."""
        return str(ok(self.post("/createRoom", options))["room_id"])

    def membership(self, verb: str, room_id: str, **body: Any) -> Response:
        """POST /rooms/{roomId}/{verb}."""
        return self.post(f"/rooms/{quote(room_id)}/{verb}", body)

    def send(self, room_id: str, txn_id: str, body: str = "hello") -> Response:
        """Send a text message."""
        content = {"msgtype": "m.text", "body": body}
        return self.put(f"/rooms/{quote(room_id)}/send/m.room.message/{quote(txn_id, safe='')}", content)

    def set_state(self, room_id: str, event_type: str, content: Any, state_key: str = "") -> Response:
        """Send a state event."""
        path = f"/rooms/{quote(room_id)}/state/{quote(event_type, safe='')}/{quote(state_key, safe='')}"
        return self.put(path, content)

    def redact(self, room_id: str, event_id: str, txn_id: str, **body: Any) -> Response:
        """Redact an event."""
        return self.put(f"/rooms/{quote(room_id)}/redact/{quote(event_id, safe='')}/{txn_id}", body)


@attrs.frozen
class RoomServer:
    """A running server and its parts."""

    server: Server
    parts: Parts

    def __getattr__(self, name: str) -> User:
        """The user of this name."""
        if name not in self.parts.tokens:
            raise AttributeError(name)
        return User(self.server.client(name), self.parts.tokens[name])

    def events(self, room_id: str) -> Sequence[StoredEvent]:
        """All events of the room, in order."""
        return in_reactor(self._events(room_id))

    def types(self, room_id: str) -> list[str]:
        """The types of all events of the room, in order."""
        return [stored.event.type for stored in self.events(room_id)]

    def state(self, room_id: str) -> dict[tuple[str, str], StoredEvent]:
        """The current state: the last event of each key, which is what it is in a room without forks."""
        return {
            (stored.event.type, stored.event.state_key): stored
            for stored in self.events(room_id)
            if stored.event.state_key is not None
        }

    def content(self, room_id: str, event_type: str, state_key: str = "") -> Mapping[str, Any] | None:
        """The content of a key of the current state."""
        stored = self.state(room_id).get((event_type, state_key))
        return None if stored is None else stored.event.content

    def write(self, *records: Any, positions: int = 0) -> None:
        """Write records as one unit."""
        in_reactor(self._write(records, positions))

    async def _events(self, room_id: str) -> Sequence[StoredEvent]:
        await self.parts.ground.latest()
        storage = self.parts.storage
        room = (await storage.strings.find([room_id]))[room_id]
        places = await storage.events.forwards(room, after=BEGINNING, before=END, limit=10_000)
        stored = await storage.events.get([place.number for place in places])
        return [stored[place.number] for place in places]

    async def _write(self, records: Sequence[Any], positions: int) -> None:
        await self.parts.ground.write_queue.submit(Unit(records=records, positions=positions))


@contextlib.contextmanager
def room_server(
    database: Database, *, limits: Limits | None = None, forget_on_leave: bool = False
) -> Iterator[RoomServer]:
    """Serve the endpoints over `database`; several may run over one, one after the other."""
    with tempfile.TemporaryDirectory() as directory:
        options = {"limits": limits, "forget_on_leave": forget_on_leave}
        parts = in_reactor(parts_over(database, Path(directory), **options))
        with serve_grounds(parts.grounds, writing_endpoints, parts.tokens) as server:
            yield RoomServer(server, parts)
        in_reactor(stop_grounds(parts.grounds))


def ok(response: Response) -> Any:
    """The JSON of an answer that must be a success."""
    assert response.status == 200, response
    return response.json


def refused(response: Response) -> tuple[int, str]:
    """Status and error code of an answer that must be an error."""
    assert response.status >= 400, response
    assert response.json["error"]
    return response.status, response.errcode
