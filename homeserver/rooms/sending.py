# SPDX-License-Identifier: Apache-2.0
"""Sending events: messages, state, redactions.

spec: client-server-api, "Sending events to a room" and "Redactions"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from federation.errors import Forbidden, InvalidParam, NotFound
from federation.graph.current_state import CurrentState
from federation.graph.drafts import Draft, RecordsOf, no_records
from federation.http.endpoint import Requester
from federation.rules.identifiers import check_event_id, server_of
from homeserver.rooms.aliases import RoomAliases
from homeserver.rooms.checks import check_active, check_joined, check_short
from homeserver.rooms.membership import RoomMembership
from homeserver.rooms.transactions import RequestTransactions
from homeserver.rooms.turns import Turns
from homeserver.rooms.writable_rooms import WritableRooms
from storage.event import Event, StoredEvent

_REDACTION = "m.room.redaction"
_UNREDACTABLE = frozenset({"m.room.create", "m.room.server_acl"})
"""Without its content an `m.room.server_acl` shuts out every server; `m.room.create` keeps all of it."""


class Sending:
    """Sends what clients send into rooms."""

    def __init__(
        self,
        *,
        server_name: str,
        rooms: WritableRooms,
        transactions: RequestTransactions,
        membership: RoomMembership,
        aliases: RoomAliases,
    ) -> None:
        self._server_name = server_name
        self._rooms = rooms
        self._transactions = transactions
        self._membership = membership
        self._aliases = aliases
        self._turns = Turns()

    async def send(
        self,
        requester: Requester,
        room_id: str,
        event_type: str,
        txn_id: str,
        content: Mapping[str, Any],
        *,
        origin_server_ts: int | None = None,
    ) -> str:
        """Send a message event, once for each transaction id; returns the event's id.

        `origin_server_ts` in milliseconds; None: now. Raises `InvalidParam`, `Forbidden`, `UserSuspended`,
        `NotFound` and `InvalidIdentifier` for a redaction, and as `RoomGraph.append` does.
        """
        check_short(event_type, "The event type")

        async def append(records_of: RecordsOf) -> StoredEvent:
            if event_type == _REDACTION:
                return await self._redact_by(requester, room_id, content, records_of, origin_server_ts)
            _check_type(event_type)
            check_active(requester)
            draft = Draft(requester.user_id, event_type, content, origin_server_ts=origin_server_ts)
            return await self._append(room_id, draft, records_of)

        path = f"/rooms/{room_id}/send/{event_type}"
        return await self._transactions.once(requester, path, txn_id, append)

    async def set_state(
        self,
        requester: Requester,
        room_id: str,
        event_type: str,
        state_key: str,
        content: Mapping[str, Any],
        *,
        origin_server_ts: int | None = None,
    ) -> str:
        """Send a state event; returns its id, or that of the user's own that says the same already.

        Raises `InvalidParam`, `BadAlias`, `Forbidden`, `UserSuspended`, as `RoomMembership` does for
        `m.room.member`, and as `RoomGraph.append` does.
        """
        check_short(event_type, "The event type")
        check_short(state_key, "The state key")
        _check_type(event_type)
        if event_type == "m.room.member":
            return await self._membership.set_member(
                requester, room_id, state_key, content, origin_server_ts=origin_server_ts
            )
        check_active(requester)
        draft = Draft(
            requester.user_id, event_type, content, state_key=state_key, origin_server_ts=origin_server_ts
        )
        async with self._turns.of(room_id, event_type, state_key):
            unchanged = await self._rooms.unchanged(room_id, draft)
            if unchanged is not None:
                return unchanged.event.event_id
            if event_type == "m.room.canonical_alias" and not state_key:
                await self._rooms.check_joined(requester.user_id, room_id)
                await self._aliases.check_canonical(requester.user_id, room_id, content)
            return (await self._append(room_id, draft)).event.event_id

    async def redact(
        self, requester: Requester, room_id: str, event_id: str, txn_id: str, *, reason: str | None = None
    ) -> str:
        """Redact an event of the room, once for each transaction id; returns the redaction's id.

        Raises `InvalidIdentifier`, `NotFound`, `Forbidden`, `UserSuspended`, `AuthRefused`.
        """
        content: dict[str, Any] = {"redacts": event_id}
        if reason is not None:
            content["reason"] = reason
        path = f"/rooms/{room_id}/redact/{event_id}"
        return await self._transactions.once(
            requester,
            path,
            txn_id,
            lambda records_of: self._redact_by(requester, room_id, content, records_of),
        )

    async def _append(self, room_id: str, draft: Draft, records_of: RecordsOf = no_records) -> StoredEvent:
        def request(state: CurrentState) -> Sequence[Draft]:
            check_joined(state, draft.sender)
            return (draft,)

        return (await self._rooms.append(draft.sender, room_id, request, records_of))[0]

    async def _redact_by(
        self,
        requester: Requester,
        room_id: str,
        content: Mapping[str, Any],
        records_of: RecordsOf,
        origin_server_ts: int | None = None,
    ) -> StoredEvent:
        """Send `m.room.redaction` with this content, whose `redacts` goes where the room version wants it."""
        target_id = content.get("redacts")
        if not isinstance(target_id, str):
            raise InvalidParam("redacts: must be the id of the event to redact")
        check_event_id(target_id)
        await self._rooms.check_joined(requester.user_id, room_id)
        target = await self._target(target_id, room_id)
        if target.sender != requester.user_id:
            check_active(requester)
        rest = {key: value for key, value in content.items() if key != "redacts"}
        draft = Draft(
            requester.user_id, _REDACTION, rest, redacts=target_id, origin_server_ts=origin_server_ts
        )

        def request(state: CurrentState) -> Sequence[Draft]:
            check_joined(state, requester.user_id)
            if not self._may_redact(requester, target, state):
                raise Forbidden(f"{requester.user_id} may not redact the events of {target.sender}")
            return (draft,)

        return (await self._rooms.append(requester.user_id, room_id, request, records_of))[0]

    async def _target(self, event_id: str, room_id: str) -> Event:
        stored = (await self._rooms.events.by_id((event_id,))).get(event_id)
        if stored is None or stored.event.room_id != room_id:
            raise NotFound(f"The room has no event {event_id}")
        if stored.event.type in _UNREDACTABLE:
            raise Forbidden(f"An event of type {stored.event.type} is not redacted")
        return stored.event

    def _may_redact(self, requester: Requester, target: Event, state: CurrentState) -> bool:
        """One's own events, others' with the power level, and for administrators those of local users."""
        if target.sender == requester.user_id or state.power.user(requester.user_id) >= state.power.redact:
            return True
        return requester.is_admin and server_of(target.sender) == self._server_name


def _check_type(event_type: str) -> None:
    """Raise `Forbidden` for types that no client sends by themselves."""
    if event_type == "m.room.create":
        raise Forbidden("A room has one m.room.create, its first event")
    if event_type == _REDACTION:
        raise Forbidden(f"{_REDACTION} is no state event")
