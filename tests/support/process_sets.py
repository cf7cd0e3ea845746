# SPDX-License-Identifier: Apache-2.0
"""Several sets of components in the reactor of the tests, as several processes have them, over one database.

A test that runs with the engine `postgresql-two` gets a `SharedDatabase`; whatever starts a server over it
makes a whole set of components for each of its databases, and lets requests reach them through a balancer.
What a test looks at behind the server is then the first set.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.python.threadable import isInIOThread

from federation.http.endpoint import Endpoint, Requester
from homeserver.composition.ground import Ground, build_ground
from homeserver.composition.serving import answer_others, build_service
from homeserver.composition.sharing import open_sharing
from homeserver.composition.user_data import build_propagation
from homeserver.config.config import read_config
from homeserver.rooms.turns import Turns
from storage.engine.database import Database
from storage.write_queue import Committed
from tests.support.balancer import balancer
from tests.support.http import Server, serve
from tests.support.reactor import in_reactor
from tests.support.shared_database import SharedDatabase

Follower = Callable[[Sequence[Committed]], None]
_ACQUAINTANCE_SECONDS = 5.0


async def start_grounds(
    settings: Mapping[str, Any], directory: Path, database: Database, followers: Sequence[Follower] = ()
) -> tuple[Ground, ...]:
    """What each set stands on, ready for commits; `followers` hear of those that the first set learns of.

    `settings` are the configuration; paths begin in `directory`.
    """
    if not isinstance(database, SharedDatabase):
        config = read_config(dict(settings), base=directory)
        return (await _started(build_ground(config, reactor, database, followers)),)
    config = read_config({**settings, "database": dict(database.configuration)}, base=directory)
    grounds = []
    for each, for_sharing in zip(database.databases, database.sharing, strict=True):
        sharing = await open_sharing(config, reactor, database=for_sharing, lost=_lost)
        heard = () if grounds else followers
        grounds.append(await _started(build_ground(config, reactor, each, heard, sharing=sharing)))
    return tuple(grounds)


async def _started(ground: Ground) -> Ground:
    await ground.start()
    return ground


def _lost(reason: str) -> None:
    raise AssertionError(f"a process would have to start again: {reason}")


@contextlib.contextmanager
def serve_grounds(
    grounds: Sequence[Ground],
    endpoints_of: Callable[[Ground], Sequence[Endpoint]],
    tokens: Mapping[str, Requester],
) -> Iterator[Server]:
    """Serve the endpoints of one set; of several, the first at the port of a balancer before all of them."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(
                serve(endpoints_of(ground), tokens=tokens, build_service=partial(build_service, ground))
            )
            for ground in grounds
        ]
        if len(servers) == 1:
            yield servers[0]
            return
        running = stack.enter_context(balancer([server.port for server in servers]))
        in_reactor(_join(grounds, servers))
        yield attrs.evolve(servers[0], port=running.port)


async def _join(grounds: Sequence[Ground], servers: Sequence[Server]) -> None:
    """Let each set answer the others, and return when all know each other."""
    for ground, server in zip(grounds, servers, strict=True):
        assert ground.shared is not None
        answer_others(ground, server.site.service, build_propagation(ground, Turns()))
        await ground.shared.sharing.join(ground.shared.hear)
    deadline = time.monotonic() + _ACQUAINTANCE_SECONDS
    while any(len(ground.shared.sharing.live.peers()) < len(grounds) - 1 for ground in grounds):
        assert time.monotonic() < deadline, "the processes do not find each other"
        await deferLater(reactor, 0.005)


def first_of(grounds: Sequence[Ground]) -> Ground:
    """The first, for a look at what is behind the server: it knows what all have committed before.

    In the reactor's thread it is given as it is; `Ground.latest` does the same there.
    """
    if len(grounds) > 1 and not isInIOThread():
        in_reactor(grounds[0].latest())
    return grounds[0]


async def stop_grounds(grounds: Sequence[Ground]) -> None:
    """End all that they do."""
    for ground in grounds:
        sharing = None if ground.shared is None else ground.shared.sharing
        ground.feed.waiting.close()
        if ground is grounds[-1]:
            await ground.typists.end()
        if sharing is not None:
            await sharing.live.drain()
            ground.typists.forget()
            await sharing.leave()
        await ground.write_queue.stop()
        if ground.shared is not None:
            await ground.shared.caught_up()
        await ground.background.stop()
        await ground.workers.close()
        if sharing is not None:
            await sharing.close()
