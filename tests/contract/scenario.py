# SPDX-License-Identifier: Apache-2.0
"""The scenario that the walk and the bad requests happen in, and the requests of the walk."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlencode

import attrs

from tests.contract.connection import Connection, Reply, User, register
from tests.contract.operations import Operation


@attrs.frozen
class Scenario:
    """Two users in a public room of the first, with an alias and a message."""

    connection: Connection
    alice: User
    bob: User
    room_id: str
    room_alias: str
    event_id: str

    async def room_with_bob(self) -> str:
        """Return a new room of Alice's that Bob has joined."""
        room_id = await self.alice.create_room()
        await self.bob.join(room_id)
        return room_id


async def prepare(connection: Connection) -> Scenario:
    """Make the scenario on a server; it may be made any number of times."""
    alice, bob = await register(connection), await register(connection)
    room_id = await alice.create_room(name="The walk", topic="A walk")
    await bob.join(room_id)
    return Scenario(
        connection=connection,
        alice=alice,
        bob=bob,
        room_id=room_id,
        room_alias=await alice.make_alias(room_id),
        event_id=await alice.send(room_id),
    )


@attrs.frozen
class Request:
    """A request of one operation, before it is encoded."""

    user: User | None = None
    path: Mapping[str, str] = attrs.field(factory=dict)
    query: Mapping[str, str] = attrs.field(factory=dict)
    body: Any = None
    shows: Callable[[Any], object] = lambda answer: True
    """Whether the decoded answer holds what the request was prepared for."""


Line: TypeAlias = Callable[[Scenario], Awaitable[Request]]
"""Prepares a request of one operation in a scenario."""


async def make(request: Request, operation: Operation, connection: Connection) -> Reply:
    """Send the request and return the answer."""
    return await connection.request(
        operation.method,
        operation.path_with(request.path),
        urlencode(request.query),
        request.user.authorization if request.user else {},
        b"" if request.body is None else json.dumps(request.body).encode(),
    )
