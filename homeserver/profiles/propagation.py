# SPDX-License-Identifier: Apache-2.0
"""The job that tells every room of a user of their new name and avatar, one unit for each room.

It is stored together with the change, and advances in the same commit as each event, so that a restart
resumes it where it was. A newer change of the same profile begins it anew.

Of several processes the owner of the user runs it, under a lease. The events are made by the owners of the
rooms: a room that is told twice sees nothing the second time, so the job need not advance with those.

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
from federation.processes.link import PeerFailed, PeerUnreachable
from federation.processes.ownership import Ownership
from federation.rules.errors import RuleError
from homeserver.feed.user_rooms import UserRooms
from homeserver.profiles.fields import IN_ROOMS
from homeserver.profiles.leases import JobLeases
from homeserver.profiles.rooms_elsewhere import RoomsElsewhere
from homeserver.rooms.turns import Turns
from homeserver.rooms.visibility import MEMBER
from homeserver.rooms.writable_rooms import WritableRooms
from storage.engine.errors import DatabaseUnavailable, DataError, OutcomeUnknown
from storage.event import StoredEvent
from storage.jobs import EndedJob, Job
from storage.leases import HeldLease
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
_FOR_NOW = (
    DatabaseUnavailable,
    OutcomeUnknown,
    QueueFull,
    RoomReloaded,
    PeerUnreachable,
    PeerFailed,
)
_TRIES = 20


class _Changed(Exception):
    """The member event is no longer the one that was looked at."""


@attrs.define(eq=False)
class _Run:
    """One run of the job: rooms up to number `after` are done. `superseded`: another run does all of it."""

    account: int
    user_id: str
    after: int = 0
    lease: Sequence[HeldLease] = ()
    superseded: bool = False

    def job(self, after: int) -> Sequence[Job | HeldLease]:
        """The records that say how far it has come."""
        state = {"account": self.account, "user_id": self.user_id, "after": after}
        return (Job(job_name(self.account), KIND, state), *self.lease)


class ProfilePropagation:
    """Runs the jobs. `turns`, by account number, are held by whoever changes a profile.

    `ownership`, `leases` and `elsewhere` say which users are this process's, guard their jobs, and tell the
    rooms of other processes. While the database or another process is away, a step is tried again every
    `retry_seconds`.
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
        ownership: Ownership,
        leases: JobLeases,
        elsewhere: RoomsElsewhere,
        retry_seconds: float = 2.0,
    ) -> None:
        self._storage = storage
        self._rooms = rooms
        self._user_rooms = user_rooms
        self._queue = queue
        self._background = background
        self._clock = clock
        self._turns = turns
        self._ownership = ownership
        self._leases = leases
        self._elsewhere = elsewhere
        self._retry_seconds = retry_seconds
        self._runs: dict[int, _Run] = {}

    async def begin(self, account: int, user_id: str) -> Sequence[Job | HeldLease]:
        """The records that go into the unit of a change; what runs for an older one ends.

        The turn is the caller's. `start` must follow. Raises `DatabaseError`.
        """
        running = self._runs.pop(account, None)
        if running is not None:
            running.superseded = True
        run = self._runs[account] = await self._new_run(account, user_id)
        return run.job(after=0)

    async def is_current(self, account: int) -> bool:
        """Whether no other process has begun to change this profile since `begin`."""
        return await self._leases.are_held(self._runs[account].lease)

    def start(self, account: int) -> None:
        """Run the job that `begin` made."""
        run = self._runs[account]
        self._background.spawn(f"profile of {run.user_id}", self._run(run))

    async def resume(self) -> None:
        """Go on with what a stop or another process has left behind, and leave what is another's now."""
        for account, run in list(self._runs.items()):
            if self._ownership.owner_of(run.user_id) is not None:
                run.superseded = True
                del self._runs[account]
        for job in await self._storage.jobs.unfinished():
            account, user_id = job.state.get("account"), job.state.get("user_id")
            if job.kind != KIND or self._ownership.owner_of(user_id) is not None:
                continue
            async with self._turns.of(account):
                if account not in self._runs:
                    self._runs[account] = await self._new_run(account, user_id, job.state["after"])
                    self.start(account)

    async def show(self, account: int, user_id: str, room_id: str) -> None:
        """Show the user's profile in one room of this process, for another process that runs the job."""
        await self._try(_Run(account, user_id), room_id, lambda: ())

    async def _new_run(self, account: int, user_id: str, after: int = 0) -> _Run:
        return _Run(account, user_id, after, await self._leases.take(job_name(account)))

    async def _run(self, run: _Run) -> None:
        memberships = await self._patiently(lambda: self._user_rooms.of_account(run.account))
        rooms = [room for room, m in memberships.items() if m.membership == "join" and room > run.after]
        room_ids = await self._patiently(lambda: self._storage.strings.values(rooms))
        for room in sorted(rooms):
            await self._tell_wherever(run, room, room_ids[room])
        async with self._turns.of(run.account):
            if not run.superseded:
                ended = (EndedJob(job_name(run.account)), *run.lease)
                try:
                    await self._patiently(lambda: self._queue.submit(Unit(records=ended)))
                except DataError:
                    logger.info("Another process goes on with the profile of %s", run.user_id)
                del self._runs[run.account]

    async def _tell_wherever(self, run: _Run, room: int, room_id: str) -> None:
        """Tell one room, which may be another process's."""
        if run.superseded:
            return
        if not await self._patiently(lambda: self._elsewhere.show(run.account, run.user_id, room_id)):
            await self._try(run, room_id, lambda: run.job(after=room))

    async def _try(self, run: _Run, room_id: str, records: Callable[[], Sequence[Job | HeldLease]]) -> None:
        """Tell one room, with `records` in the same unit. One that refuses it is passed over."""
        tries = 0
        while not run.superseded:
            try:
                return await self._patiently(lambda: self._tell(run, room_id, records))
            except _REFUSED as error:
                if not await self._leases.are_held(run.lease):
                    run.superseded = True
                    return None
                logger.warning("The new profile of %s is not shown in %s: %s", run.user_id, room_id, error)
                return None
            except _Changed:
                tries += 1
                if tries == _TRIES:
                    logger.warning("The member event of %s in %s changes too often", run.user_id, room_id)
                    return None
        return None

    async def _tell(self, run: _Run, room_id: str, records: Callable[[], Sequence[Job | HeldLease]]) -> None:
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

        def records_of(_appended: Sequence[StoredEvent]) -> Sequence[Job | HeldLease]:
            return () if run.superseded else records()

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


def job_name(account: int) -> str:
    """The name of the job of a user, and of its lease."""
    return f"{KIND}/{account}"
