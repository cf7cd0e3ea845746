# SPDX-License-Identifier: Apache-2.0
"""The composition root: from here everything is built, part by part, from the bottom to the top.

The parts are in `homeserver/composition/`; each gives a component by its constructor what it needs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from federation.http.admission import Admission
from federation.http.endpoint import Endpoint
from federation.http.listeners import Listeners
from federation.http.ports import Listener
from federation.http.service import Service
from federation.http.site import Site
from homeserver.cli.child import Place
from homeserver.composition.counts import Counts
from homeserver.composition.ground import Ground, build_ground
from homeserver.composition.metrics import build_metrics
from homeserver.composition.reading import reading_endpoints
from homeserver.composition.rooms import writing_endpoints
from homeserver.composition.serving import answer_others, build_service
from homeserver.composition.sharing import Sharing, open_sharing
from homeserver.composition.user_data import build_propagation, profile_endpoints, user_data_endpoints
from homeserver.composition.users import Users, build_users, user_endpoints
from homeserver.config.config import Config
from homeserver.config.listeners import Listener as ConfiguredListener
from homeserver.config.listeners import Resource
from homeserver.health import Health
from homeserver.housekeeping import Housekeeping
from homeserver.log_trimming import LogTrimming
from homeserver.metrics.exposition import Exposition
from homeserver.metrics.reactor_lag import ReactorLag
from homeserver.rooms.transactions import TRANSACTION_LIFETIME_MS
from homeserver.rooms.turns import Turns
from homeserver.sole_use import SoleUse
from storage.commits.log import CommitLog
from storage.engine.database import Database
from storage.engine.opening import open_database

_FINISH_SECONDS = 6.0
"""How long requests in flight may take when the server stops."""

_LINGER_SECONDS = 1.5
"""How long idle connections stay open when the server stops and others go on."""


class Homeserver:
    """A whole server: it listens between `start` and `stop`.

    `place`: it is one of several processes, which listen on sockets that their parent has opened. `lost`
    fires, with the reason, when this process can only start again.
    """

    def __init__(self, config: Config, reactor: Any, place: Place | None = None) -> None:
        self._config = config
        self._reactor = reactor
        self._place = place
        self.lost: Deferred[str] = Deferred()
        self._listeners = Listeners(reactor=reactor, shares=None if place is None else place.shares)
        self._database: Database | None = None
        self._use: SoleUse | None = None
        self._sharing: Sharing | None = None
        self._ground: Ground | None = None
        self._users: Users | None = None
        self.endpoints: tuple[Endpoint, ...] = ()

    @property
    def addresses(self) -> Sequence[str]:
        """Where it listens: `http://127.0.0.1:8008`, `unix:/run/trellis/main.sock`."""
        return self._listeners.urls

    def reload_certificates(self) -> None:
        """Read the certificates of TLS again, for new connections."""
        self._listeners.reload_certificates()

    async def start(self) -> None:
        """Open the database, build everything, and listen; when this returns, requests are answered.

        Raises `DatabaseUnavailable`, `UnsuitableDatabase` and `ListenerError`.
        """
        config, reactor = self._config, self._reactor
        counts = Counts.of(config.server_name)
        self._database = await open_database(
            config.database.database, reactor=reactor, observe=counts.work.observe
        )
        if self._database.dialect == "postgresql":
            await self._claim_database()
        self._ground = ground = build_ground(
            config, reactor, self._database, counts=counts, sharing=self._sharing
        )
        self._users = users = build_users(ground)
        await ground.start()
        profile_turns = Turns()
        propagation = build_propagation(ground, profile_turns)
        self.endpoints = (
            *user_endpoints(ground, users),
            *writing_endpoints(ground),
            *reading_endpoints(ground),
            *user_data_endpoints(ground),
            *profile_endpoints(ground, propagation, profile_turns),
        )
        admission = Admission(authenticate=ground.access_tokens.authenticate, seen=users.last_seen.seen)
        answer_others(ground, build_service(ground, self.endpoints, admission), propagation)
        if ground.shared is not None:
            await ground.shared.sharing.join(ground.shared.hear)
        await propagation.resume()
        self._listen(ground, admission)
        housekeeping = Housekeeping(
            transactions=ground.storage.client_transactions,
            transaction_lifetime_ms=TRANSACTION_LIFETIME_MS,
            clock=reactor,
        )
        ground.background.spawn("housekeeping", housekeeping.run())
        if self._use is not None:
            self._use.watch(ground.background)
            log = CommitLog(self._database, process="")
            trimming = LogTrimming(log=log, position=lambda: ground.feed.position, clock=reactor)
            ground.background.spawn("commit log trimming", trimming.run())
        ground.background.spawn("last seen", users.last_seen.run())
        ground.background.spawn("expired sessions", users.authentication.run())

    async def _claim_database(self) -> None:
        """Serve alone on the database, or with others that do the same."""
        config, reactor = self._config, self._reactor
        shared = self._place is not None or config.processes.processes.enabled
        self._use = await SoleUse.claimed(config.database.database, reactor, shared=shared, lost=self._lose)
        if shared:
            self._sharing = await open_sharing(
                config,
                reactor,
                database=self._use.database,
                lost=self._lose,
                process=None if self._place is None else self._place.process,
            )

    def _lose(self, reason: str) -> None:
        if not self.lost.called:
            self.lost.callback(reason)

    def _listen(self, ground: Ground, admission: Admission) -> None:
        """Open all listeners."""
        config, reactor = self._config, self._reactor
        lag = ReactorLag(clock=reactor)
        served = {
            Resource.CLIENT: self.endpoints,
            Resource.HEALTH: Health(draining=lambda: self._listeners.draining).endpoints(),
            Resource.METRICS: Exposition(build_metrics(ground, lag)).endpoints(),
        }
        services: dict[frozenset[Resource], Service] = {}
        place = self._place or Place("", 1, {})
        for index, listener in enumerate(config.listeners.listeners):
            resources = config.listeners.resources_of(listener)
            if not resources:
                continue
            if resources not in services:
                services[resources] = build_service(ground, _endpoints(served, resources), admission)
            site = Site(
                reactor=reactor,
                service=services[resources],
                x_forwarded=listener.x_forwarded,
                counts=ground.counts.requests,
                shares=place.shares,
            )
            self._listeners.open(_listener(listener, config, place.sockets.get(index, ())), site)
        if any(Resource.METRICS in resources for resources in services):
            ground.background.spawn("reactor lag", lag.run())

    async def stop(self) -> None:
        """Accept nothing more, finish what is in flight, close everything. Also after a failed start."""
        ground, users, sharing = self._ground, self._users, self._sharing
        if ground is not None:
            if sharing is not None:
                await sharing.live.drain()
                await self._listeners.drain_softly(
                    linger=_LINGER_SECONDS, end_long_polls=ground.feed.waiting.close
                )
            await self._listeners.stop(seconds=_FINISH_SECONDS, end_long_polls=ground.feed.waiting.close)
            if sharing is None or not sharing.live.peers():
                await ground.typists.end()
            ground.typists.forget()
            if sharing is not None:
                await sharing.leave()
            if users is not None:
                await users.last_seen.flush()
            await ground.write_queue.stop()
            if ground.shared is not None:
                await ground.shared.caught_up()
            await ground.background.stop()
            await ground.workers.close()
        if users is not None:
            users.passwords.stop()
        if sharing is not None:
            await sharing.close()
        if self._use is not None:
            await self._use.database.close()
        if self._database is not None:
            await self._database.close()


def _endpoints(
    served: Mapping[Resource, Sequence[Endpoint]], resources: Collection[Resource]
) -> Sequence[Endpoint]:
    return [
        endpoint for resource, endpoints in served.items() if resource in resources for endpoint in endpoints
    ]


def _listener(listener: ConfiguredListener, config: Config, descriptors: tuple[int, ...]) -> Listener:
    """The listener that the configuration describes; `descriptors` are its sockets if it is open already."""
    tls = config.listeners
    return Listener(
        port=listener.port,
        bind_addresses=listener.bind_addresses,
        path=listener.path,
        mode=listener.mode,
        certificate_path=tls.tls_certificate_path if listener.tls else None,
        private_key_path=tls.tls_private_key_path if listener.tls else None,
        x_forwarded=listener.x_forwarded,
        resources=frozenset(resource.value for resource in listener.resources),
        descriptors=descriptors,
    )
