# SPDX-License-Identifier: Apache-2.0
"""Profiles of local users: who has which, and changes of them.

spec: client-server-api, "Profiles".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from federation.errors import NotFound
from federation.rules.identifiers import parse_user_id
from homeserver.profiles import fields
from homeserver.profiles.propagation import ProfilePropagation
from homeserver.rooms.turns import Turns
from storage.engine.errors import DataError
from storage.persist import Unit
from storage.profiles import ProfileField
from storage.stores import Storage
from storage.write_queue import WriteQueue

_TRIES = 3


class Profiles:
    """Reads and changes profiles. The rooms follow a change by and by, by `propagation`.

    `turns` are those of the propagation, by account number.
    """

    def __init__(
        self,
        *,
        server_name: str,
        storage: Storage,
        queue: WriteQueue,
        propagation: ProfilePropagation,
        turns: Turns,
    ) -> None:
        self._server_name = server_name
        self._storage = storage
        self._queue = queue
        self._propagation = propagation
        self._turns = turns

    async def account(self, user_id: str) -> int:
        """The number of a local user. Raises `InvalidIdentifier` and `NotFound`."""
        account = None
        # TODO: ask the server of a remote user, once there is federation.
        if parse_user_id(user_id).server_name == self._server_name:
            account = (await self._storage.strings.find([user_id])).get(user_id)
        stored = None if account is None else await self._storage.accounts.get(account)
        if account is None or stored is None or stored.is_deactivated:
            raise NotFound(f"There is no user {user_id} on this server")
        return account

    async def get(self, account: int) -> Mapping[str, Any]:
        """The profile of a local user by number."""
        return await self._storage.profiles.get(account)

    async def put(self, user_id: str, name: str, value: Any) -> None:
        """Set a field of a local user.

        Raises `NotFound`, `InvalidIdentifier`, and the errors of `homeserver.profiles.fields`.
        """
        fields.check_name(name)
        await self._change(user_id, name, fields.checked_value(name, value))

    async def delete(self, user_id: str, name: str) -> None:
        """Delete a field of a local user, if it is there. Raises as `put` does."""
        fields.check_name(name)
        await self._change(user_id, name, None)

    async def _change(self, user_id: str, name: str, value: Any) -> None:
        account = await self.account(user_id)
        async with self._turns.of(account):
            profile = await self._storage.profiles.get(account)
            if _same(profile.get(name), value):
                return
            if value is not None:
                fields.check_size({**profile, name: value})
            field = ProfileField(account, name, value)
            if name not in fields.IN_ROOMS:
                await self._queue.submit(Unit(records=(field,)))
                return
            await self._change_in_rooms(account, user_id, field)

    async def _change_in_rooms(self, account: int, user_id: str, field: ProfileField) -> None:
        for attempt in range(1, _TRIES + 1):
            job = await self._propagation.begin(account, user_id)
            try:
                await self._queue.submit(Unit(records=(field, *job)))
                return
            except DataError:
                # Another process may have taken the user over between the two.
                if attempt == _TRIES or await self._propagation.is_current(account):
                    raise
            finally:
                # What ran before has been told to end, so this runs even where nothing was written.
                self._propagation.start(account)


def _same(old: Any, new: Any) -> bool:
    # Compared as JSON: to Python, 1 and true are the same.
    return msgspec.json.encode(old) == msgspec.json.encode(new)
