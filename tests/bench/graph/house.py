# SPDX-License-Identifier: Apache-2.0
"""The parts of a server that write into rooms, as its composition root builds them, without its endpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from federation.graph.batches import Incoming
from federation.graph.drafts import Draft
from federation.graph.room import RoomGraph
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.composition.ground import Ground, build_ground
from homeserver.config.config import read_config
from storage.engine.database import Transaction
from storage.engine.opening import open_database
from tests.bench.graph.growth import SERVER
from tests.bench.graph.task import Task


@attrs.frozen
class House:
    """A server's ground over a database, and the room version of its rooms."""

    ground: Ground
    version: RoomVersion
    reactor: Any

    @classmethod
    async def open(cls, task: Task, reactor: Any) -> House:
        """Over the database that the task names, which may be empty."""
        key = str(Path(task.directory) / "bench.signing.key")
        settings: dict[str, object] = {
            "server_name": SERVER,
            "signing_key_path": key,
            "database": task.database,
        }
        config = read_config(settings, base=Path(task.directory))
        database = await open_database(config.database.database, reactor=reactor)
        ground = build_ground(config, reactor, database)
        await ground.feed.start()
        return cls(ground, ROOM_VERSIONS[task.room_version], reactor)

    async def close(self) -> None:
        """Stop what runs."""
        await self.ground.write_queue.stop()
        await self.ground.background.stop()
        await self.ground.workers.close()
        await self.ground.storage.database.close()

    async def begin(self, room_id: str, incoming: Incoming) -> RoomGraph:
        """A room that others made begins here. RuntimeError where not all of its events are accepted."""
        graph, received = await self.ground.graphs.begin_remote(room_id, self.version, incoming)
        refused = [one.event.type for one in received.stored if one.rejected or one.soft_failed]
        if refused or received.lacking:
            raise RuntimeError(
                f"of a room's first events were not accepted: {refused[:3]}, {received.lacking}"
            )
        return graph

    async def receive(self, graph: RoomGraph, incoming: Incoming) -> None:
        """Events arrive. RuntimeError where not all are accepted: the figure would be of something else."""
        received = await graph.receive(incoming)
        if len(received.stored) != len(incoming.events) or received.lacking:
            raise RuntimeError(
                f"{len(received.stored)} of {len(incoming.events)} events were stored; lacking: "
                f"{list(received.lacking.values())[:2]}"
            )
        refused = [one for one in received.stored if one.rejected or one.soft_failed]
        if refused:
            raise RuntimeError(f"{len(refused)} of {len(incoming.events)} events were refused")

    async def say(self, graph: RoomGraph, sender: str) -> None:
        """A local user says something."""
        draft = Draft(sender, "m.room.message", {"msgtype": "m.text", "body": "how it feels to others"})
        await graph.append(lambda _state: [draft])

    async def used_bytes(self) -> int:
        """The size of the database."""

        def size(txn: Transaction) -> int:
            if txn.dialect == "postgresql":
                row = txn.row("SELECT pg_database_size(current_database())")
            else:
                row = txn.row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
            assert row is not None
            return int(row[0])

        return await self.ground.storage.database.read("size", size)

    async def state_rows(self, graph: RoomGraph) -> int:
        """How many rows the states of a room take."""

        def count(txn: Transaction) -> int:
            row = txn.row("SELECT count(*) FROM state_rows WHERE room = ?", [graph.room])
            assert row is not None
            return int(row[0])

        return await self.ground.storage.database.read("count state rows", count)
