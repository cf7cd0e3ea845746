# SPDX-License-Identifier: Apache-2.0
"""The processes that are alive, as this one sees them: heartbeats through the database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import attrs
from twisted.internet.defer import DeferredLock

from federation.processes.ownership import Peer
from federation.processes.rendezvous import owner
from storage.engine.errors import DatabaseError
from storage.processes import Heard, Processes, ProcessRow
from storage.runtime.background import BackgroundTasks
from storage.runtime.clock import Clock, DelayedCall

logger = logging.getLogger(__name__)

DEAD_AFTER = 5.0
"""Seconds without a heartbeat after which the others take a process for dead."""
REFUSED_AFTER = 2.0
"""Seconds after which one is taken for dead at whose address nobody listens. Whoever is alive is heard of by
then, even if a firewall refuses connections to it."""
HEARTBEAT = 1.0
"""Seconds from one heartbeat to the next."""
LOOK_PAUSE = 0.05
"""Seconds between two readings of the table at least."""

_MOST_OWNERS = 50_000


@attrs.frozen
class _View:
    """The others that are alive, which processes drain, and which may own something, in order."""

    peers: Mapping[str, Peer]
    draining: frozenset[str]
    candidates: tuple[str, ...]


def _view_of(process: str, draining: bool, others: Sequence[ProcessRow]) -> _View:
    """Those that drain own nothing, unless all do."""
    peers = {row.process: Peer(row.process, row.address) for row in others}
    leaving = {row.process for row in others if row.draining} | ({process} if draining else set())
    alive = {process, *peers}
    return _View(peers, frozenset(leaving), tuple(sorted(alive - leaving or alive)))


class LiveProcesses:
    """Tells the others that this process is alive, and knows which of them are; an `Ownership`.

    After each heartbeat, in this order: the view is replaced; `on_away` is called if this process was not
    heard of for so long that the others took it for dead; `on_dead` with each that was alive before and has
    not been heard of for that long; `on_change` if the set of the processes, their
    addresses or which of them drain has changed; `on_position` with the position counter of the database.
    While the database cannot be reached the view stays as it was.
    """

    def __init__(
        self,
        *,
        process: str,
        processes: Processes,
        clock: Clock,
        background: BackgroundTasks,
        tell: Callable[[], None] = lambda: None,
        on_change: Sequence[Callable[[], None]] = (),
        on_away: Sequence[Callable[[], None]] = (),
        on_dead: Callable[[Peer], None] = lambda _peer: None,
        on_position: Callable[[int], None] = lambda _position: None,
    ) -> None:
        """`process` is this one's id, another at each start; `tell` asks the others to look at the table."""
        self.process = process
        self._processes = processes
        self._clock = clock
        self._background = background
        self._tell = tell
        self._on_change = on_change
        self._on_away = on_away
        self._on_dead = on_dead
        self._on_position = on_position
        self._address = ""
        self._draining = False
        self._registered = False
        self._stopped = False
        self._unreachable = False
        self._view = _view_of(process, False, ())
        self._owners: dict[str, Peer | None] = {}
        self._one_at_a_time = DeferredLock()
        self._timer: DelayedCall | None = None
        self._refusing: set[str] = set()
        self._began = 0.0
        self._asked = False
        self._back_until = 0.0

    @property
    def alive(self) -> int:
        """How many processes are alive, this one included."""
        return 1 + len(self._view.peers)

    def peers(self) -> Sequence[Peer]:
        """The others that are alive, those that drain too."""
        return tuple(self._view.peers.values())

    def owner_of(self, name: str) -> Peer | None:
        """The other process that owns `name`; None where it is this one."""
        try:
            return self._owners[name]
        except KeyError:
            pass
        found = self._view.peers.get(owner(name, self._view.candidates))
        if len(self._owners) >= _MOST_OWNERS:
            del self._owners[next(iter(self._owners))]
        self._owners[name] = found
        return found

    async def start(self, address: str) -> None:
        """Register this process, which the others reach at `address` ("host:port"), and read who is there.

        Raises `DatabaseError` where that fails.
        """
        self._address = address
        await self._beat()
        self._tell()
        self._go_on()

    def look(self) -> None:
        """Read the table soon: there may be news."""
        if self._asked or self._stopped:
            return
        self._asked = True
        if self._timer is not None and self._timer.active():
            self._go_on()

    def refused(self, peer: Peer) -> None:
        """Nobody listens at the address of the process: if it is not heard of soon, it is dead."""
        self._refusing.add(peer.process)
        self.look()

    async def look_now(self) -> None:
        """Return when the table was read after the call, or could not be read."""
        await self._try_beat()

    async def drain(self) -> None:
        """Own nothing from now on, as soon as there is another process that does not drain either.

        Where the database cannot be reached now, the next heartbeat says it.
        """
        self._draining = True
        await self._try_beat()
        self._tell()

    async def stop(self) -> None:
        """Take this process out of the table. To be called before `background` is stopped.

        What cannot be taken out, because the database cannot be reached, the others find dead.
        """
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        async with self._one_at_a_time:  # no heartbeat brings it back
            try:
                await self._processes.remove(self.process)
            except DatabaseError as error:
                logger.warning(
                    "This process stays in the table of processes until it is found dead: %s", error
                )
        self._tell()

    def _go_on(self) -> None:
        """Wait for the next heartbeat, which comes early where somebody wants to look."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        pause = LOOK_PAUSE if self._asked else HEARTBEAT
        passed = max(0.0, self._clock.seconds() - self._began)  # the clock may have been put back
        self._timer = self._clock.callLater(max(0.0, pause - passed), self._begin)

    def _begin(self) -> None:
        self._background.spawn("heartbeat", self._beat_and_go_on())

    async def _beat_and_go_on(self) -> None:
        # Whoever asks from now on may know of something that this reading does not see.
        self._asked = False
        try:
            await self._try_beat()
        finally:
            if not self._stopped:
                self._go_on()

    async def _try_beat(self) -> None:
        try:
            await self._beat()
        except DatabaseError as error:
            if not self._unreachable:
                logger.warning("No heartbeat, because the database cannot be reached: %s", error)
            self._unreachable = True

    async def _beat(self) -> None:
        async with self._one_at_a_time:
            if self._stopped:
                return
            self._began = self._clock.seconds()
            draining = self._draining
            heard = await self._processes.beat(self.process, self._address, draining=draining)
            self._take_in(heard, draining)

    def _take_in(self, heard: Heard, draining: bool) -> None:
        if self._unreachable:
            self._unreachable = False
            logger.warning("The database can be reached again, and heartbeats go on")
        away = self._was_away(heard)
        self._registered = True
        if away:
            self._back_until = self._clock.seconds() + DEAD_AFTER
        known = self._view.peers
        changed = self._replace(_view_of(self.process, draining, self._living_others(heard)))
        if away:
            self._call(*self._on_away)
        for row in heard.rows:  # who is not in the table has left it, and still answers what it owes
            if row.process in known and row.process not in self._view.peers:
                self._call(partial(self._on_dead, known[row.process]))
        if changed:
            self._call(*self._on_change)
        self._call(lambda: self._on_position(heard.position))

    def _was_away(self, heard: Heard) -> bool:
        """Whether the others took this process for dead: it was stopped, or cut off from the database."""
        if not self._registered:
            return False
        age = next((row.age for row in heard.rows if row.process == self.process), None)
        if age is not None and age < DEAD_AFTER:
            return False
        why = (
            "it was taken out of the table" if age is None else f"{age:.1f} seconds passed without heartbeat"
        )
        logger.warning("The others took this process for dead: %s", why)
        return True

    def _living_others(self, heard: Heard) -> list[ProcessRow]:
        """The others that are alive.

        If the database was away, no process was heard of. So whoever comes back leaves those that it knew
        the time to come back too.
        """
        just_back = self._clock.seconds() < self._back_until
        self._refusing.intersection_update(row.process for row in heard.rows)
        return [
            row
            for row in heard.rows
            if row.process != self.process
            and (row.age < self._dead_after(row) or (just_back and row.process in self._view.peers))
        ]

    def _dead_after(self, row: ProcessRow) -> float:
        return REFUSED_AFTER if row.process in self._refusing else DEAD_AFTER

    def _replace(self, view: _View) -> bool:
        """Take the view for the one that holds from now on; whether it is another."""
        if view == self._view:
            return False
        self._view = view
        self._owners.clear()
        names = ", ".join(sorted(view.peers)) or "none"
        logger.info("The other processes that are alive: %s", names)
        return True

    def _call(self, *listeners: Callable[[], None]) -> None:
        for listener in listeners:
            try:
                listener()
            except Exception:  # the others must hear of it, and the heartbeats go on
                logger.exception("A listener to the processes failed")
