# SPDX-License-Identifier: Apache-2.0
"""What the figures of one server share: its accounts and rooms, made when first asked for."""

from __future__ import annotations

import hashlib
import hmac
import itertools
from collections.abc import Sequence
from typing import Any

import attrs

from tests.bench.load.client import Client, each
from tests.bench.load.long_poll import next_batch
from tests.bench.load.requests import CLIENT, User, join, json_request, message, request, sync
from tests.bench.scale import Scale
from tests.bench.servers.recipe import SHARED_SECRET
from tests.bench.servers.server import Server

_PASSWORD = "a password of the benchmark"
_REGISTER = "/_synapse/admin/v1/register"
#: A filter that makes an answer small where only its token is wanted.
SMALL = '{"room":{"timeline":{"limit":1},"state":{"lazy_load_members":true}}}'


@attrs.frozen
class OwnedRooms:
    """A user and the rooms that they made."""

    owner: User
    room_ids: Sequence[str]


class Stage:
    """One server, the client that sets it up, and what is already there."""

    def __init__(self, server: Server, scale: Scale) -> None:
        self.server = server
        self.scale = scale
        self.client = Client(server.address)
        self._people: list[User] = []
        self._owned: OwnedRooms | None = None
        self._names = itertools.count()

    async def people(self, count: int) -> list[User]:
        """The first `count` users of the pool, which grows as needed."""
        missing = count - len(self._people)
        self._people += await each(range(missing), lambda _: self.new_user())
        return self._people[:count]

    async def new_user(self) -> User:
        """A user who is in no room, registered with the shared secret."""
        name = f"person{next(self._names)}"
        nonce = (await self.client.get(request("GET", _REGISTER)))["nonce"]
        parts = [nonce, name, _PASSWORD, "notadmin"]
        mac = hmac.new(SHARED_SECRET.encode(), "\0".join(parts).encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": name, "password": _PASSWORD, "admin": False, "mac": mac}
        answer = await self.client.get(json_request("POST", _REGISTER, None, body))
        return User(answer["user_id"], answer["access_token"])

    async def new_device(self, user: User) -> User:
        """A further device of `user`."""
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user.user_id},
            "password": _PASSWORD,
        }
        answer = await self.client.get(json_request("POST", f"{CLIENT}/login", None, body))
        return User(answer["user_id"], answer["access_token"])

    async def room(self, owner: User, name: str, members: Sequence[User] = ()) -> str:
        """A public room that `owner` makes and `members` join."""
        body: dict[str, Any] = {"preset": "public_chat", "visibility": "private", "name": name}
        answer = await self.client.get(json_request("POST", f"{CLIENT}/createRoom", owner.token, body))
        room_id = str(answer["room_id"])
        await self.join(members, room_id)
        return room_id

    async def join(self, members: Sequence[User], room_id: str, width: int = 8) -> None:
        """Let all `members` join."""
        await each(members, lambda member: self.client.get(join(member, room_id), timeout=120), width)

    async def rooms_of(self, owner: User, count: int) -> list[str]:
        """`count` rooms with a name and one message each."""

        async def one(number: int) -> str:
            room_id = await self.room(owner, f"Room number {number}")
            await self.client.get(message(owner, room_id, f"first{number}"))
            return room_id

        return await each(range(count), one, 4)

    async def owned_rooms(self) -> OwnedRooms:
        """The user with `scale.owned_rooms` rooms."""
        if self._owned is None:
            owner = await self.new_user()
            self._owned = OwnedRooms(owner, await self.rooms_of(owner, self.scale.owned_rooms))
        return self._owned

    async def position(self, user: User) -> str:
        """A sync token of now."""
        return next_batch((await self.client.get_raw(sync(user, filter_json=SMALL), timeout=300)).body)
