# SPDX-License-Identifier: Apache-2.0
"""A Redis of the benchmark's own, which keeps nothing."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

from tests.bench.servers.database import free_port
from tests.bench.servers.process import ChildProcess, Command


class Redis:
    """Runs when it is made. RuntimeError where it is not installed or does not start."""

    def __init__(self, directory: Path, cores: frozenset[int]) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise RuntimeError("no redis-server (Debian: apt-get install redis-server)")
        directory.mkdir()
        self.port = free_port()
        arguments = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = ChildProcess(Command(arguments, directory), cores=cores, log=directory / "log")
        deadline = time.monotonic() + 20
        while not self._answers():
            if time.monotonic() > deadline or not self.process.running:
                raise RuntimeError(f"Redis does not start:\n{self.process.log_tail()}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return True
        except OSError:
            return False
