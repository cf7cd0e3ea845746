# SPDX-License-Identifier: Apache-2.0
"""Joins forward extremities where there are too many of them for one event to follow.

spec: server-server-api, "PDUs" (an event has at most 20 prev events; this server writes at most 10).
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from federation.errors import Forbidden
from federation.graph.batches import Incoming
from federation.graph.drafts import Draft
from federation.graph.hot_room import HotRoom
from federation.graph.receiving import Receiving
from federation.graph.reference_hashes import note_reference_hashes
from federation.rules.auth.rules import check_auth
from federation.rules.errors import AuthRefused
from federation.rules.redaction import redact_event
from federation.rules.room_versions import RoomVersion
from storage.event import Event, StoredEvent

MAX_PREV_EVENTS: Final = 10
"""More forward extremities are merged before an event is built on them."""

DUMMY: Final = "org.matrix.dummy_event"
"""The type of what servers send to join forward extremities."""

_MERGERS: Final = 5
"""So many users are tried as its sender."""


@attrs.frozen
class Merging:
    """Merges the forward extremities of one room."""

    receiving: Receiving

    async def merge(self, hot: HotRoom) -> None:
        """Have events follow the forward extremities until one event may follow all that are left.

        Raises `Forbidden` where nobody here may send it.
        """
        memory = self.receiving.memory
        await memory.receiving.acquire()
        try:
            while memory.is_now(hot) and len(hot.extremities) > MAX_PREV_EVENTS:
                await self._merge_some(hot)
        finally:
            memory.receiving.release()

    async def _merge_some(self, hot: HotRoom) -> None:
        """Have one event follow as many as one may."""
        memory = self.receiving.memory
        for draft in await self._drafts(hot):
            await note_reference_hashes(memory.tools, hot, [draft])
            await memory.tools.strings.intern({draft.type, draft.sender})
            merged = hot.extremities[:MAX_PREV_EVENTS]
            event = memory.tools.builder.build(memory.room_id, draft, hot.state, merged, hot.reference_hashes)
            if not _is_allowed(event, hot):
                continue
            received = await self.receiving.receive_piece(Incoming([event]))
            if received.lacking or any(_is_accepted(stored) for stored in received.stored):
                # Lacking: the room was loaded again meanwhile, and must be looked at anew.
                return
        raise Forbidden("the room's graph has too many ends, and nobody here may send what joins them")

    async def _drafts(self, hot: HotRoom) -> list[Draft]:
        """Events that change nothing, which somebody here may be allowed to send."""
        tools, state = self.receiving.memory.tools, hot.state
        own = tools.builder.server_name
        members = [
            user
            for user, membership in state.memberships.items()
            if membership == "join" and user.partition(":")[2] == own
        ]
        members.sort(key=state.power.user, reverse=True)
        drafts = []
        for user in members[:_MERGERS]:
            drafts.append(Draft(user, DUMMY, {}))
            entry = state.get("m.room.member", user)
            numbers = [] if entry is None else [entry.number]
            for stored in (await tools.events.get(numbers)).values():
                drafts.append(Draft(user, "m.room.member", _again(stored, state.version), state_key=user))
        return drafts


def _again(stored: StoredEvent, version: RoomVersion) -> dict[str, Any]:
    """What the member event of somebody who is in the room says, as they may say it again."""
    event = stored.event if stored.redacted_by is None else redact_event(stored.event, version)
    # Whoever is in needs nobody to authorise it, whose server would have to sign.
    return {key: value for key, value in event.content.items() if key != "join_authorised_via_users_server"}


def _is_allowed(event: Event, hot: HotRoom) -> bool:
    """Whether the current state allows it; then the state before it, which is a part of it, mostly does."""
    try:
        check_auth(event, hot.state, hot.state.version, power_levels=hot.state.power)
    except AuthRefused:
        return False
    return True


def _is_accepted(stored: StoredEvent) -> bool:
    return not stored.rejected and not stored.soft_failed
