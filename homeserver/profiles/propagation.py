# SPDX-License-Identifier: Apache-2.0
"""The job that tells every room of a user of their new name and avatar, one unit for each room.

It is stored together with the change, and advances in the same commit as each event, so that a restart
resumes it where it was. A newer change of the same profile begins it anew.

spec: client-server-api, "Events on Change of Profile Information".
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from twisted.internet.task import deferLater

from federation.errors import MatrixError
from federation.graph.current_state import CurrentState
from federation.graph.drafts import Draft
from federation.rules.errors import RuleError
from homeserver.feed.user_rooms import UserRooms
from homeserver.profiles.fields import IN_ROOMS
from homeserver.rooms.turns import Turns
from homeserver.rooms.visibility import MEMBER
from homeserver.rooms.writable_rooms import WritableRooms
from storage.engine.errors import DatabaseUnavailable, DataError, OutcomeUnknown
from storage.event import StoredEvent
from storage.jobs import EndedJob, Job
from storage.persist import Unit
from storage.runtime.background import BackgroundTasks
from storage.runtime.clock import Clock
from storage.stores import Storage
from storage.write_queue import QueueFull, RoomReloaded, WriteQueue

logger = logging.getLogger(__name__)

T = TypeVar("T")

KIND = "profile"
_AUTHORISER = "join_authorised_via_users_server"
_REFUSED = (MatrixError, RuleError, DataError)
_FOR_NOW = (DatabaseUnavailable, OutcomeUnknown, QueueFull, RoomReloaded)
_TRIES = 20


class _Changed(Exception):
    """The member event is no longer the one that was looked at."""


@attrs.define(eq=False)
class _Run:
    """One run of the job: rooms up to number `after` are done. `superseded`: another run does all of it."""

    account: int
    user_id: str
    after: int = 0
    superseded: bool = False

    def job(self, after: int) -> Job:
        """The record that says how far it has come."""
        state = {"account": self.account, "user_id": self.user_id, "after": after}
        return Job(_name(self.account), KIND, state)


class ProfilePropagation:
    """Runs the jobs. `turns`, by account number, are held by whoever changes a profile.

    While the database is away, a step is tried again every `retry_seconds`.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        rooms: WritableRooms,
        user_rooms: UserRooms,
        queue: WriteQueue,
        background: BackgroundTasks,
        clock: Clock,
        turns: Turns,
        retry_seconds: float = 2.0,
    ) -> None:
        self._storage = storage
        self._rooms = rooms
        self._user_rooms = user_rooms
        self._queue = queue
        self._background = background
        self._clock = clock
        self._turns = turns
        self._retry_seconds = retry_seconds
        self._runs: dict[int, _Run] = {}

    def begin(self, account: int, user_id: str) -> Job:
        """The record that goes into the unit of a change; what runs for an older one ends.

        The turn is the caller's. `start` must follow.
        """
        running = self._runs.pop(account, None)
        if running is not None:
            running.superseded = True
        return _Run(account, user_id).job(after=0)

    def start(self, account: int, user_id: str, *, after: int = 0) -> None:
        """Run the job that `begin` made, or a stored one from where it was."""
        run = self._runs[account] = _Run(account, user_id, after)
        self._background.spawn(f"profile of {user_id}", self._run(run))

    async def resume(self) -> None:
        """Go on with what a stop interrupted; once, before any profile is changed."""
        for job in await self._storage.jobs.unfinished():
            if job.kind == KIND:
                self.start(job.state["account"], job.state["user_id"], after=job.state["after"])

    async def _run(self, run: _Run) -> None:
        memberships = await self._patiently(lambda: self._user_rooms.of_account(run.account))
        rooms = [room for room, m in memberships.items() if m.membership == "join" and room > run.after]
        room_ids = await self._patiently(lambda: self._storage.strings.values(rooms))
        for room in sorted(rooms):
            await self._try(run, room, room_ids[room])
        async with self._turns.of(run.account):
            if not run.superseded:
                ended = EndedJob(_name(run.account))
                await self._patiently(lambda: self._queue.submit(Unit(records=(ended,))))
                del self._runs[run.account]

    async def _try(self, run: _Run, room: int, room_id: str) -> None:
        """Tell one room. One that refuses it is passed over."""
        tries = 0
        while not run.superseded:
            try:
                return await self._patiently(lambda: self._tell(run, room, room_id))
            except _REFUSED as error:
                logger.warning("The new profile of %s is not shown in %s: %s", run.user_id, room_id, error)
                return None
            except _Changed:
                tries += 1
                if tries == _TRIES:
                    logger.warning("The member event of %s in %s changes too often", run.user_id, room_id)
                    return None
        return None

    async def _tell(self, run: _Run, room: int, room_id: str) -> None:
        stored = await self._rooms.value(run.user_id, room_id, MEMBER, run.user_id)
        if stored is None:
            # It is in memory, and will be on disk.
            await deferLater(self._clock, 0.05)  # type: ignore[arg-type]
            raise _Changed
        content = shown_content(stored, await self._storage.profiles.get(run.account))
        if content is None:
            return
        draft = Draft(run.user_id, MEMBER, content, state_key=run.user_id)

        def request(state: CurrentState) -> Sequence[Draft]:
            if state.membership(run.user_id) != "join":
                return ()
            entry = state.get(MEMBER, run.user_id)
            if run.superseded or entry is None or entry.number != stored.number:
                raise _Changed
            return (draft,)

        def records_of(_appended: Sequence[StoredEvent]) -> Sequence[Job]:
            return () if run.superseded else (run.job(after=room),)

        await self._rooms.append(run.user_id, room_id, request, records_of)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it, again and again while the database is away."""
        while True:
            try:
                return await work()
            except _FOR_NOW:
                await deferLater(self._clock, self._retry_seconds)  # type: ignore[arg-type]


def shown_content(stored: StoredEvent, profile: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a member event says with another profile; None where it says that already."""
    content: Mapping[str, Any] = {"membership": "join"} if stored.redacted_by else stored.event.content
    # Whoever is in the room needs nobody to authorise it, and who did has not signed this event.
    changed = {key: value for key, value in content.items() if key not in IN_ROOMS and key != _AUTHORISER}
    changed |= {key: profile[key] for key in sorted(IN_ROOMS) if isinstance(profile.get(key), str)}
    same = all(changed.get(key) == content.get(key) for key in IN_ROOMS)
    return None if same else changed


def _name(account: int) -> str:
    return f"{KIND}/{account}"
