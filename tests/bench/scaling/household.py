# SPDX-License-Identifier: Apache-2.0
"""One homeserver of one or several processes, each with a port of its own, over a database of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import yaml

from federation.processes.rendezvous import owner
from tests.bench.load.connection import Address
from tests.bench.machine import Cores
from tests.bench.scaling.sockets import listening_ports
from tests.bench.servers.database import PostgresDatabase, free_port
from tests.bench.servers.process import Command
from tests.bench.servers.recipe import Place, homeserver_yaml
from tests.bench.servers.server import Server
from tests.bench.stage import Stage


@attrs.define
class _OneOfSeveral:
    """A process as it would run on a machine of its own: from the tree that the benchmark has copied."""

    settings: Mapping[str, Any]
    tree: str
    name: str = "trellis"

    def version(self) -> str:
        return "as the benchmark's"

    def command(self, place: Place) -> Command:
        configuration = place.directory / "homeserver.yaml"
        content = {**homeserver_yaml(place), **self.settings}
        configuration.write_text(yaml.safe_dump(content))
        arguments = [sys.executable, "-m", "homeserver", "run", "--config", str(configuration)]
        return Command(arguments, place.directory, environment={"PYTHONPATH": self.tree})


class Household:
    """The processes of one homeserver, which may use all cores, and the stage that is set through the first.

    `sharing` starts them as some of several, also where there is one alone. `redis` is the port of a Redis
    that carries their notices.
    """

    def __init__(
        self, stage: Stage, name: str, *, processes: int, sharing: bool, redis: int | None = None
    ) -> None:
        outer = stage.server.place
        database = outer.database.beside(name)
        if not isinstance(database, PostgresDatabase):
            raise RuntimeError("several processes need --engine postgresql")
        self.name = name
        self.database = database
        cores = Cores(*[stage.server.all_cores] * 4)
        settings: dict[str, Any] = {
            "processes": {"enabled": sharing},
            "signing_key_path": str(outer.directory / "household.signing.key"),
        }
        if redis is not None:
            settings["redis"] = {"enabled": True, "host": "127.0.0.1", "port": redis}
        recipe = _OneOfSeveral(settings, str(outer.directory / "tree"))
        self.servers: list[Server] = []
        for number in range(processes):
            directory = outer.directory / f"{name}-{number}"
            directory.mkdir()
            place = Place(directory=directory, port=free_port(), database=database)
            self.servers.append(Server(recipe, place, version=recipe.version(), cores=cores))
        self.stage = Stage(self.servers[0], stage.scale)

    @property
    def addresses(self) -> Sequence[Address]:
        """Where its processes listen."""
        return [server.address for server in self.servers]

    async def start(self) -> None:
        """Start one process after the other."""
        for server in self.servers:
            await server.start()
            await server.quiet()

    def end(self) -> None:
        """End all."""
        self.stage.client.close()
        for server in self.servers:
            server.end()

    async def quiet(self) -> None:
        """Wait until all have come to rest."""
        for server in self.servers:
            await server.quiet(10.0)

    def owner_of(self, room_id: str) -> int:
        """Which of its processes owns a room: the index in `servers`."""
        with contextlib.closing(self.database.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(
                "SELECT process, address FROM processes"
                " WHERE heartbeat > clock_timestamp() - interval '5 seconds'"
            )
            addresses = dict(cursor.fetchall())
        port = int(addresses[owner(room_id, list(addresses))].rpartition(":")[2])
        return self._index_with(port)

    def _index_with(self, port: int) -> int:
        """The process that listens on a port for the others."""
        for index, server in enumerate(self.servers):
            if port in listening_ports(server.process.pids()):
                return index
        raise RuntimeError(f"no process of {self.name} listens on {port}")
