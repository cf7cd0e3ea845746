# SPDX-License-Identifier: Apache-2.0
"""The composition root: from here everything is built, part by part, from the bottom to the top.

The parts are in `homeserver/composition/`; each gives a component by its constructor what it needs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from federation.http.admission import Admission
from federation.http.dispatch import Dispatch
from federation.http.endpoint import Endpoint
from federation.http.listeners import Listener, Listeners
from federation.http.service import Service
from federation.http.site import Site
from homeserver.composition.ground import Ground, build_ground
from homeserver.composition.reading import reading_endpoints
from homeserver.composition.rooms import writing_endpoints
from homeserver.composition.user_data import build_propagation, profile_endpoints, user_data_endpoints
from homeserver.composition.users import Users, build_users, user_endpoints
from homeserver.config.config import Config
from homeserver.config.listeners import Listener as ConfiguredListener
from homeserver.config.listeners import Resource
from homeserver.health import Health
from homeserver.housekeeping import Housekeeping
from homeserver.rooms.transactions import TRANSACTION_LIFETIME_MS
from homeserver.rooms.turns import Turns
from storage.engine.database import Database
from storage.engine.opening import open_database

logger = logging.getLogger(__name__)

_FINISH_SECONDS = 6.0
"""How long requests in flight may take when the server stops."""


class Homeserver:
    """A whole server: it listens between `start` and `stop`."""

    def __init__(self, config: Config, reactor: Any) -> None:
        self._config = config
        self._reactor = reactor
        self._listeners = Listeners(reactor=reactor)
        self._database: Database | None = None
        self._ground: Ground | None = None
        self._users: Users | None = None
        self.endpoints: tuple[Endpoint, ...] = ()

    @property
    def addresses(self) -> Sequence[str]:
        """Where it listens: `http://127.0.0.1:8008`, `unix:/run/trellis/main.sock`."""
        return self._listeners.urls

    async def start(self) -> None:
        """Open the database, build everything, and listen; when this returns, requests are answered.

        Raises `DatabaseUnavailable`, `UnsuitableDatabase` and `ListenerError`.
        """
        config, reactor = self._config, self._reactor
        self._database = await open_database(config.database.database, reactor=reactor)
        self._ground = ground = build_ground(config, reactor, self._database)
        self._users = users = build_users(ground)
        await ground.feed.start()
        profile_turns = Turns()
        propagation = build_propagation(ground, profile_turns)
        self.endpoints = (
            *user_endpoints(ground, users),
            *writing_endpoints(ground),
            *reading_endpoints(ground),
            *user_data_endpoints(ground),
            *profile_endpoints(ground, propagation, profile_turns),
        )
        await propagation.resume()
        admission = Admission(authenticate=ground.access_tokens.authenticate, seen=users.last_seen.seen)
        health = Health().endpoints()
        services = {
            True: Service(dispatch=Dispatch((*health, *self.endpoints)), admission=admission),
            False: Service(dispatch=Dispatch(health), admission=admission),
        }
        for listener in config.listeners.listeners:
            _say_what_is_missing(listener)
            service = services[Resource.CLIENT in listener.resources]
            site = Site(reactor=reactor, service=service, x_forwarded=listener.x_forwarded)
            self._listeners.open(_listener(listener, config), site)
        housekeeping = Housekeeping(
            transactions=ground.storage.client_transactions,
            transaction_lifetime_ms=TRANSACTION_LIFETIME_MS,
            clock=reactor,
        )
        ground.background.spawn("housekeeping", housekeeping.run())
        ground.background.spawn("last seen", users.last_seen.run())
        ground.background.spawn("expired sessions", users.authentication.run())

    async def stop(self) -> None:
        """Accept nothing more, finish what is in flight, close everything. Also after a failed start."""
        ground, users = self._ground, self._users
        if ground is not None:
            await self._listeners.stop(seconds=_FINISH_SECONDS, end_long_polls=ground.feed.waiting.close)
            ground.feed.typing.close()
            if users is not None:
                await users.last_seen.flush()
            await ground.write_queue.stop()
            await ground.background.stop()
            await ground.workers.close()
        if users is not None:
            users.passwords.stop()
        if self._database is not None:
            await self._database.close()


def _say_what_is_missing(listener: ConfiguredListener) -> None:
    """Tell of what a listener is to serve and cannot yet."""
    if Resource.METRICS in listener.resources:
        logger.warning("Metrics are not there yet: the listener at %s does not serve them", listener.port)


def _listener(listener: ConfiguredListener, config: Config) -> Listener:
    """The listener that the configuration describes."""
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
    )
