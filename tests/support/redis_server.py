# SPDX-License-Identifier: Apache-2.0
"""Redis servers of the tests' own: started, killed, stopped and let go on at will.

`redis_server` is a running one; `make_redis_server` makes more, with options.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres_cluster import free_port

MISSING = "Redis is not installed: run .ci/redis (or `apt-get install redis-server`)"
_READY_SECONDS = 20


class RedisServer:
    """A `redis-server` on a port of 127.0.0.1 and on a UNIX socket, which keeps nothing.

    With `tls` the port takes TLS alone, for which `options` name the files. `password`: `requirepass`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        options: Sequence[str] = (),
        password: str | None = None,
        tls: bool = False,
    ) -> None:
        self.port = free_port()
        self.socket = directory / "redis.sock"
        self._directory = directory
        self._options = [*options, *(() if password is None else ("--requirepass", password))]
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and return when it answers."""
        ports = ("--port", "0", "--tls-port") if self._tls else ("--port",)
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("redis-server", *ports, str(self.port), "--bind", "127.0.0.1"),
                    *("--save", "", "--appendonly", "no", "--dir", str(self._directory)),
                    *("--unixsocket", str(self.socket), "--unixsocketperm", "700", *self._options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _READY_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.kill()
                raise RuntimeError((self._directory / "log").read_text(encoding="utf-8"))
            time.sleep(0.02)

    def kill(self) -> None:
        """End the server as a crash does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            self.socket.unlink(missing_ok=True)

    def pause(self) -> None:
        """Have the server stand still, its connections open."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *words: bytes, password: str | None = None) -> bytes:
        """The answer to one command, as it came (up to 64 KiB)."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_READY_SECONDS)
            connection.connect(str(self.socket))
            if password is not None:
                connection.sendall(_encoded(b"AUTH", password.encode()))
                assert connection.recv(65536).startswith(b"+OK")
            connection.sendall(_encoded(*words))
            return connection.recv(65536)

    def _answers(self) -> bool:
        try:
            answer = self.command(b"PING")
        except OSError:
            return False
        return answer.startswith((b"+PONG", b"-NOAUTH"))


def _encoded(*words: bytes) -> bytes:
    """A command as RESP has it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


@pytest.fixture
def make_redis_server() -> Iterator[Callable[..., RedisServer]]:
    """Makes servers that are not started yet: `make_redis_server(options=…, password=…, tls=…)`."""
    if shutil.which("redis-server") is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    servers: list[RedisServer] = []
    directories: list[Path] = []

    def make(**options: Any) -> RedisServer:
        directory = Path(tempfile.mkdtemp(prefix="trellis-redis-"))  # the path of a UNIX socket must be short
        directories.append(directory)
        servers.append(RedisServer(directory, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def redis_server(make_redis_server: Callable[..., RedisServer]) -> RedisServer:
    """A running server."""
    server = make_redis_server()
    server.start()
    return server
