# SPDX-License-Identifier: Apache-2.0
"""Two sets of components behind a balancer: both answer, as one homeserver."""

from __future__ import annotations

import pytest

from storage.engine.database import Database
from tests.support.app_server import AppServer, app_server
from tests.support.databases import TWO
from tests.support.reactor import in_reactor


@pytest.mark.parametrize("engine", [TWO])
def test_requests_of_one_client_reach_each_in_turn(database: Database, engine: str) -> None:
    with app_server(database) as server:
        room_id = server.alice.create_room()
        server.alice.say(room_id, *map(str, range(10)))
        # The one that owns the room answers itself, and the other one asks it.
        shared = [ground.shared for ground in server.grounds]
        asked = [one.sharing.counts.forwarding.answered.count for one in shared if one is not None]
        assert sorted(asked) == [0, 5]
        for _ in server.grounds:
            assert server.alice.bodies(room_id) == list("9876543210")


@pytest.mark.parametrize("engine", [TWO])
def test_what_is_looked_at_is_up_to_date(database: Database, engine: str) -> None:
    with app_server(database) as server:
        for _ in range(10):
            server.alice.create_room()
            assert server.ground.feed.position == position(server)


def position(server: AppServer) -> int:
    """The last position that is committed."""
    look = server.grounds[0].storage.database.look
    [[found]] = in_reactor(look("position", "SELECT value FROM counters WHERE name = 'position'"))
    return int(found)
