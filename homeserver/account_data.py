# SPDX-License-Identifier: Apache-2.0
"""Users' account data, global and of rooms, as JSON text.

spec: client-server-api, "Client Config".
"""

from __future__ import annotations

from collections.abc import Callable

from federation.rules.identifiers import parse_room_id
from homeserver.rooms.turns import Turns
from storage.account_data import GLOBAL, AccountData, AccountDataStore
from storage.persist import Unit
from storage.strings import Strings
from storage.write_queue import WriteQueue


class UserAccountData:
    """Reads and writes account data, the writes of one type one after the other.

    `room_id` is None for what belongs to no room; all raise `InvalidIdentifier` for what is no room id.
    """

    def __init__(self, *, store: AccountDataStore, strings: Strings, queue: WriteQueue) -> None:
        self._store = store
        self._strings = strings
        self._queue = queue
        self._turns = Turns()

    async def get(self, account: int, room_id: str | None, type_: str) -> bytes | None:
        """The content, or None where there is none."""
        room: int | None = GLOBAL
        if room_id is not None:
            parse_room_id(room_id)
            room = (await self._strings.find([room_id])).get(room_id)
        data = None if room is None else await self._store.get(account, room, type_)
        return None if data is None else data.content

    async def put(self, account: int, room_id: str | None, type_: str, content: bytes) -> None:
        """Write the content, the JSON of an object."""
        await self.update(account, room_id, type_, lambda _old: content)

    async def update(
        self, account: int, room_id: str | None, type_: str, change: Callable[[bytes | None], bytes | None]
    ) -> None:
        """Write what `change` makes of the content; None leaves it as it is. Raises what `change` raises."""
        if room_id is not None:
            parse_room_id(room_id)
        async with self._turns.of(account, room_id, type_):
            content = change(await self.get(account, room_id, type_))
            if content is None:
                return
            room = GLOBAL if room_id is None else (await self._strings.intern([room_id]))[room_id]
            data = AccountData(account, room, type_, content, index=1)
            await self._queue.submit(Unit(records=(data,), positions=1))
