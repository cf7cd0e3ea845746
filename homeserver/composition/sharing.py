# SPDX-License-Identifier: Apache-2.0
"""What a process needs to serve a homeserver together with others on the same PostgreSQL database."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import os
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList

from federation.http.forwarding_counts import ForwardingCounts
from federation.processes.link import Links, Operation, PeerFailed, PeerUnreachable
from federation.processes.link_counts import LinkCounts
from federation.processes.live_processes import LiveProcesses
from federation.processes.ownership import Peer
from homeserver.config.config import Config
from storage.commits.follow_counts import FollowCounts
from storage.engine.database import Database
from storage.notices.notice_counts import NoticeCounts
from storage.notices.notices import Notice, Notices
from storage.notices.postgres_notices import PostgresNotices
from storage.notices.redis_notices import RedisNotices
from storage.processes import Processes
from storage.runtime.background import BackgroundTasks

logger = logging.getLogger(__name__)

_SECRET = "links"
_ACQUAINT = "acquaint"
_LOOPBACK = "127.0.0.1"
_OWN_ADDRESS = "SELECT host(inet_client_addr())"


@attrs.frozen(kw_only=True)
class SharingCounts:
    """What a process counts of its life with others."""

    links: LinkCounts = attrs.field(factory=LinkCounts)
    notices: NoticeCounts = attrs.field(factory=NoticeCounts)
    follow: FollowCounts = attrs.field(factory=FollowCounts)
    forwarding: ForwardingCounts = attrs.field(factory=ForwardingCounts)


@attrs.frozen(kw_only=True)
class Sharing:
    """The other processes, and the ways to them.

    `operations` are what others may ask of this process, `on_change` hears when others come or go, and
    `on_position` where the position counter stands; what is built later adds itself. `lost` ends the process,
    with a reason: it must start again.
    """

    process: str
    live: LiveProcesses
    links: Links
    notices: Notices
    operations: dict[str, Operation]
    on_change: list[Callable[[], None]]
    on_position: list[Callable[[int], None]]
    lost: Callable[[str], None]
    background: BackgroundTasks
    counts: SharingCounts
    host: str
    port: int

    async def join(self, hear: Callable[[Notice], None]) -> None:
        """Answer the others, hear what they tell, and be known to them.

        Everything that they may ask for must be there. Raises `DatabaseError`, and `CannotListenError` where
        the configured address cannot be had.
        """
        address = await self.links.listen(self.host, self.port)

        def hear_all(notice: Notice) -> None:
            if notice.processes or notice == Notice():
                self.live.look()
            hear(notice)

        await self.notices.start(hear_all)
        self.on_change.append(self._check_addresses)
        self.operations[_ACQUAINT] = self._acquaint
        await self.live.start(address)
        await self._be_known()

    async def _be_known(self) -> None:
        """Return when the others know of this process: they may have thought that they own everything."""
        asked = [Deferred.fromCoroutine(self._tell_of_myself(peer)) for peer in self.live.peers()]
        await DeferredList(asked)

    async def _tell_of_myself(self, peer: Peer) -> None:
        try:
            await self.links.ask(peer, _ACQUAINT, b"")
        except (PeerUnreachable, PeerFailed) as error:
            logger.info(
                "The process at %s hears of this one with its next heartbeat: %s", peer.address, error
            )

    async def _acquaint(self, _body: bytes) -> bytes:
        await self.live.look_now()
        return b""

    def _check_addresses(self) -> None:
        """Say so where one process can be reached on its own machine alone and another is elsewhere."""
        own = _is_loopback(self.host)
        for peer in self.live.peers():
            if _is_loopback(peer.address.rpartition(":")[0].strip("[]")) != own:
                logger.warning(
                    "The processes at %s and at %s cannot both reach each other: one address is that of a"
                    " loopback. Set processes.address to the private address of the machine on each",
                    self.host,
                    peer.address,
                )

    async def leave(self) -> None:
        """Be gone for the others, and answer what is owed to them. `live.drain` comes first."""
        await self.live.stop()
        await self.links.stop()

    async def close(self) -> None:
        """Tell nothing more and close the connections."""
        await self.notices.stop()
        await self.background.stop()


async def open_sharing(
    config: Config,
    reactor: Any,
    *,
    database: Database,
    lost: Callable[[str], None],
    process: str | None = None,
    counts: SharingCounts | None = None,
) -> Sharing:
    """Everything that the others are reached by; `process` is the id of this one if its parent has given one.

    `database` has one reader, for this alone. Raises `DatabaseUnavailable`.
    """
    counts = counts or SharingCounts()
    process = process or os.urandom(8).hex()
    processes = Processes(database)
    background = BackgroundTasks()
    operations: dict[str, Operation] = {}
    on_change: list[Callable[[], None]] = []
    on_position: list[Callable[[int], None]] = []
    secret = await processes.secret(_SECRET)
    notices = _notices(config, reactor, secret, counts.notices)

    def at_position(position: int) -> None:
        for listener in on_position:
            listener(position)

    links = Links(
        process=process,
        secret=secret,
        operations=operations,
        reactor=reactor,
        counts=counts.links,
        on_refused=lambda peer: live.refused(peer),
    )
    live = LiveProcesses(
        process=process,
        processes=processes,
        clock=reactor,
        background=background,
        tell=lambda: notices.tell(Notice(processes=True)),
        on_change=on_change,
        on_dead=links.give_up,
        on_position=at_position,
    )
    return Sharing(
        process=process,
        live=live,
        links=links,
        notices=notices,
        operations=operations,
        on_change=on_change,
        on_position=on_position,
        lost=lost,
        background=background,
        counts=counts,
        host=config.processes.processes.address or await _own_address(database),
        port=config.processes.processes.port,
    )


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def _notices(config: Config, reactor: Any, secret: bytes, counts: NoticeCounts) -> Notices:
    """Over Redis where it is configured, else over the database."""
    if config.redis.redis.enabled:
        # A copy of the database under another secret, for trials, may use the same Redis.
        channel = f"trellis:{config.server_name}:{hashlib.sha256(secret).hexdigest()[:16]}"
        address = config.redis.redis.address()
        return RedisNotices(address=address, channel=channel, reactor=reactor, counts=counts)
    return PostgresNotices(arguments=config.database.database.arguments, reactor=reactor, counts=counts)


async def _own_address(database: Database) -> str:
    """The address from which this machine reaches the database: the others are likely to reach it there."""
    [[address]] = await database.look("own address", _OWN_ADDRESS)
    return address or _LOOPBACK
