# SPDX-License-Identifier: Apache-2.0
"""Room aliases of this server: what they point to, who may make and delete them, where rooms name them.

spec: client-server-api, "Room aliases"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from federation.errors import AliasInUse, BadAlias, Forbidden, InvalidParam, NotFound
from federation.graph.current_state import CurrentState
from federation.graph.drafts import Draft
from federation.http.endpoint import Requester
from federation.rules.identifiers import parse_alias
from homeserver.rooms.checks import check_joined
from homeserver.rooms.writable_rooms import WritableRooms
from storage.aliases import Alias, Aliases, DeletedAlias
from storage.engine.errors import DataError
from storage.persist import Unit
from storage.strings import Strings
from storage.write_queue import WriteQueue

_TYPE = "m.room.canonical_alias"


@attrs.frozen
class ResolvedAlias:
    """What an alias points to: the room, and servers that are in it."""

    room_id: str
    servers: Sequence[str]


class RoomAliases:
    """The aliases that end in this server's name."""

    def __init__(
        self,
        *,
        server_name: str,
        rooms: WritableRooms,
        aliases: Aliases,
        strings: Strings,
        queue: WriteQueue,
    ) -> None:
        self._server_name = server_name
        self._rooms = rooms
        self._aliases = aliases
        self._strings = strings
        self._queue = queue

    async def room_id(self, alias: str) -> str:
        """The room that the alias points to. Raises `InvalidIdentifier` and `NotFound`."""
        return await self._room_id(await self._existing(alias))

    async def resolve(self, alias: str) -> ResolvedAlias:
        """The room that the alias points to and the servers in it, this one first.

        Raises `InvalidIdentifier` and `NotFound`.
        """
        room_id = await self.room_id(alias)
        try:
            servers = await self._rooms.look("", room_id, _servers)
        except Forbidden:
            raise NotFound(f"The room of {alias} is gone") from None
        return ResolvedAlias(room_id, [self._server_name, *sorted(servers - {self._server_name})])

    async def add(self, requester: Requester, alias: str, room_id: str) -> None:
        """Let the alias point to a room that the requester is in.

        Raises `InvalidIdentifier`, `InvalidParam` for an alias of another server, `AliasInUse`, `Forbidden`.
        """
        self.check_new(alias)
        user_id = requester.user_id
        await self._rooms.look(
            user_id, room_id, lambda state: None if requester.is_admin else check_joined(state, user_id)
        )
        room = await self._number_of(room_id)
        if await self._aliases.get(alias) is not None:
            raise _in_use(alias)
        record = Alias(alias, room, requester.user)
        try:
            await self._queue.submit(Unit(records=(record,)))
        except DataError:
            if await self._aliases.get(alias) is None:
                raise
            raise _in_use(alias) from None

    async def delete(self, requester: Requester, alias: str) -> None:
        """Delete an alias, and take it out of the room's `m.room.canonical_alias` where the requester may.

        Its creator may, administrators, and who may change the canonical alias of the room.
        Raises `InvalidIdentifier`, `NotFound`, `Forbidden`.
        """
        existing = await self._existing(alias)
        room_id = await self._room_id(existing)
        own = existing.creator == requester.user or requester.is_admin
        if not own and not await self._may_publish(requester.user_id, room_id):
            raise Forbidden(f"{requester.user_id} may not delete {alias}")
        if not await self._delete_from_room(requester, alias, room_id):
            await self._queue.submit(Unit(records=(DeletedAlias(alias),)))

    async def of_room(self, requester: Requester, room_id: str) -> Sequence[str]:
        """The aliases of a room that the requester is in, or that anybody may read. Raises `Forbidden`."""
        user_id = requester.user_id

        def look(state: CurrentState) -> None:
            if state.history_visibility != "world_readable" and not requester.is_admin:
                check_joined(state, user_id)

        await self._rooms.look(user_id, room_id, look)
        return await self._aliases.of_room(await self._number_of(room_id))

    def check_new(self, alias: str) -> None:
        """Whether such an alias can be made here. Raises `InvalidIdentifier`, `InvalidParam`."""
        parsed = parse_alias(alias)
        if parsed.server_name != self._server_name:
            raise InvalidParam(f"{alias} belongs to another server")
        if not parsed.localpart or any(character.isspace() for character in parsed.localpart):
            raise InvalidParam(f"{alias!r}: the name of an alias is not empty and holds no white space")

    async def check_canonical(self, user_id: str, room_id: str, content: Mapping[str, Any]) -> None:
        """Check that the aliases which a new `m.room.canonical_alias` adds point to the room.

        Raises `InvalidParam` for what is no alias, `BadAlias`, and `Forbidden`.
        """
        stored = await self._rooms.value(user_id, room_id, _TYPE, "")
        added = aliases_in(content) - (set() if stored is None else _published(stored.event.content))
        for alias in added:
            parse_alias(alias)
        found = await self._aliases.rooms_of(added)
        room = await self._number_of(room_id)
        for alias in sorted(added):
            # TODO: ask the servers of other aliases, once there is federation.
            if found.get(alias) != room:
                raise BadAlias(f"{alias} does not point to this room")

    async def _existing(self, alias: str) -> Alias:
        found = None
        # TODO: ask the server of another alias, once there is federation.
        if parse_alias(alias).server_name == self._server_name:
            found = await self._aliases.get(alias)
        if found is None:
            raise NotFound(f"The room alias {alias} is not known")
        return found

    async def _room_id(self, alias: Alias) -> str:
        return (await self._strings.values((alias.room,)))[alias.room]

    async def _number_of(self, room_id: str) -> int:
        """The number of a room that was found before."""
        return (await self._strings.find((room_id,)))[room_id]

    async def _may_publish(self, user_id: str, room_id: str) -> bool:
        try:
            return await self._rooms.look(user_id, room_id, lambda state: _may_publish(state, user_id))
        except Forbidden:
            return False

    async def _delete_from_room(self, requester: Requester, alias: str, room_id: str) -> bool:
        """Delete the alias together with its mention in the room, if it is there and may be taken out."""
        user_id = requester.user_id
        try:
            stored = await self._rooms.value(user_id, room_id, _TYPE, "")
        except Forbidden:
            return False
        if stored is None or stored.redacted_by is not None or alias not in _published(stored.event.content):
            return False
        draft = Draft(user_id, _TYPE, _without(stored.event.content, alias), state_key="")

        def request(state: CurrentState) -> Sequence[Draft]:
            entry = state.get(_TYPE)
            is_current = entry is not None and entry.number == stored.number
            return (draft,) if is_current and _may_publish(state, user_id) else ()

        deleted = DeletedAlias(alias)
        return bool(await self._rooms.append(user_id, room_id, request, lambda _appended: (deleted,)))


def aliases_in(content: Mapping[str, Any]) -> set[str]:
    """The aliases that a client's `m.room.canonical_alias` names. Raises `InvalidParam`."""
    alias, alternatives = content.get("alias"), content.get("alt_aliases")
    if not isinstance(alias, str | None):
        raise InvalidParam("alias: must be a string")
    if alternatives is not None and (
        not isinstance(alternatives, list) or not all(isinstance(one, str) for one in alternatives)
    ):
        raise InvalidParam("alt_aliases: must be an array of strings")
    return {*(alternatives or ()), *((alias,) if alias else ())}


def _published(content: Mapping[str, Any]) -> set[str]:
    """The aliases that a stored `m.room.canonical_alias` names, whatever else it holds."""
    try:
        return aliases_in(content)
    except InvalidParam:
        return set()


def _without(content: Mapping[str, Any], alias: str) -> dict[str, Any]:
    kept = {key: value for key, value in content.items() if (key, value) != ("alias", alias)}
    if isinstance(kept.get("alt_aliases"), list):
        kept["alt_aliases"] = [one for one in kept["alt_aliases"] if one != alias]
    return kept


def _may_publish(state: CurrentState, user_id: str) -> bool:
    """Whether the user may change the room's `m.room.canonical_alias`."""
    power = state.power
    joined = state.membership(user_id) == "join"
    return joined and power.user(user_id) >= power.required(_TYPE, is_state=True)


def _servers(state: CurrentState) -> set[str]:
    return {
        user_id.partition(":")[2] for user_id, membership in state.memberships.items() if membership == "join"
    }


def _in_use(alias: str) -> AliasInUse:
    return AliasInUse(f"The room alias {alias} exists already")
