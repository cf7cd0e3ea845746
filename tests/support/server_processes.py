# SPDX-License-Identifier: Apache-2.0
"""Several processes that are one homeserver, behind HAProxy; tests may kill, pause and start each of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.balancer import Balancer, haproxy, start_balancer
from tests.support.process import SECRET, ProcessClient, ServerProcess, register

SEVERAL: Mapping[str, Any] = {"processes": {"enabled": True}}
"""What a configuration says so that processes that are started one by one share the database."""


class ServerProcesses:
    """`count` times `python -m homeserver run` on one PostgreSQL database, and HAProxy before them.

    All have the same configuration but for the port; `settings` are further keys of it. HAProxy sends each
    request to the next process whose `/health` is good. Each process has a directory of its own within
    `directory`, and all share the signing key and the media there.
    """

    def __init__(self, directory: Path, database: Mapping[str, Any], count: int = 2, **settings: Any) -> None:
        haproxy()  # else the test is skipped before anything runs
        self._directory = directory
        self._balancer: Balancer | None = None
        self._clients: list[ProcessClient] = []
        shared = {
            "signing_key_path": str(directory / "signing.key"),
            "media_store_path": str(directory / "media"),
            **SEVERAL,
            **settings,
        }
        self.servers = tuple(
            ServerProcess(directory / f"process{i}", dict(database), **shared) for i in range(count)
        )

    @property
    def balancer(self) -> Balancer:
        """HAProxy as it runs."""
        assert self._balancer is not None
        return self._balancer

    @property
    def port(self) -> int:
        """Where HAProxy takes requests."""
        return self.balancer.port

    @property
    def url(self) -> str:
        """The base URL of HAProxy."""
        return self.balancer.url

    def start(self) -> None:
        """Start all and HAProxy, and return when each process answers and HAProxy knows it."""
        first, *others = self.servers
        first.start()  # makes the signing key and the tables
        for server in others:
            server.launch()
        for server in others:
            server.wait_until_it_answers()
        ports = [server.port for server in self.servers]
        self._balancer = start_balancer(self._directory, ports, asks_health=True)

    def server(self, i: int) -> ServerProcess:
        """The process number `i`, from 0, for requests to it alone."""
        return self.servers[i]

    def kill(self, i: int) -> None:
        """SIGKILL for one."""
        self.servers[i].kill()

    def pause(self, i: int) -> None:
        """SIGSTOP for one."""
        self.servers[i].pause()

    def resume(self, i: int) -> None:
        """SIGCONT for one."""
        self.servers[i].resume()

    def ask_to_stop(self, i: int) -> None:
        """SIGTERM for one."""
        self.servers[i].ask_to_stop()

    def wait(self, i: int) -> int:
        """The exit status of one, once it has ended, in 15 seconds at most."""
        return self.servers[i].wait()

    def start_one(self, i: int) -> None:
        """Start one that has ended, and return when it answers; HAProxy finds it within half a second."""
        self.servers[i].start()

    def remove(self) -> None:
        """End all that runs, at the end of a test, and close all clients."""
        for client in self._clients:
            client.close()
        for server in self.servers:
            server.remove()
        if self._balancer is not None:
            self._balancer.stop()

    def log(self) -> str:
        """All that the processes have logged, one after the other."""
        return "".join(server.log() for server in self.servers)

    def client(self, token: str | None = None, user_id: str = "") -> ProcessClient:
        """A client of HAProxy's, with one connection, which it opens when first used."""
        client = ProcessClient(self.port, token, user_id)
        self._clients.append(client)
        return client

    def register(self, name: str) -> ProcessClient:
        """A client of HAProxy's for a new user of this name, whose password is "password"."""
        answer = register(self.client(), SECRET, name)
        return self.client(answer["access_token"], answer["user_id"])
