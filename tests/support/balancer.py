# SPDX-License-Identifier: Apache-2.0
"""HAProxy before several servers: each request goes to the next of them, whoever sends it, whatever it is.

A request whose server is away, or ends before it answers, goes to another one; but a POST that was sent is
never sent again. The binary is the first `haproxy` on the path, else that of Debian's
package (`.ci/haproxy`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest

MISSING = "HAProxy is not installed: run .ci/haproxy (or `apt-get install haproxy`)"
_BACKLOG = 1024
_END_SECONDS = 10

# bufsize: what is kept of a request so that it can be sent again, and the longest head. fd@: the socket
# listens already, so nobody has to wait until HAProxy does.
_CONFIGURATION = """
global
    nbthread 1
    maxconn 2000
    tune.bufsize 131072

defaults
    mode http
    balance roundrobin
    retries 3
    retry-on conn-failure empty-response
    option redispatch 1
    option abortonclose
    timeout connect 2s
    timeout client {timeout}s
    timeout server {timeout}s
    timeout http-request 20s
    timeout check 1s

frontend clients
    bind fd@{socket}
    default_backend processes

backend processes
    http-reuse safe
    http-request disable-l7-retry if METH_POST
{health}{servers}
"""
_HEALTH = """\
    option httpchk
    http-check send meth GET uri /health ver HTTP/1.1 hdr Host balancer
    http-check expect status 200
"""
_CHECK = " check inter 500ms fastinter 200ms downinter 200ms fall 2 rise 1"


def binary() -> str | None:
    """Where HAProxy is, or None."""
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    return None if found is None else str(found)


def haproxy() -> str:
    """Where HAProxy is; skips the test, or in CI fails it, where there is none."""
    found = binary()
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    return found


@attrs.frozen(eq=False)
class Balancer:
    """HAProxy as it runs, and the port of 127.0.0.1 where it takes requests."""

    port: int
    _process: subprocess.Popen[bytes]
    _log: Path

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        """What it has said: of its configuration, and of servers that went and came back."""
        return self._log.read_text(encoding="utf-8")

    def check_runs(self) -> None:
        """Raises `AssertionError` where it has ended by itself."""
        assert self._process.poll() is None, f"HAProxy ended:\n{self.log()}"

    def stop(self) -> None:
        """End it, and every connection with it."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        finally:
            self._process.kill()


def start_balancer(
    directory: Path, ports: Sequence[int], *, asks_health: bool = False, timeout: int = 120
) -> Balancer:
    """HAProxy before the servers at `ports` of 127.0.0.1, with its files in `directory`.

    With `asks_health`, a server gets requests as long as its `/health` answers 200; without, always.
    `timeout`: for how many seconds a server may think about a request.
    """
    program = haproxy()
    check = _CHECK if asks_health else ""
    servers = "\n".join(f"    server p{i} 127.0.0.1:{port}{check}" for i, port in enumerate(ports))
    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listening:
        text = _CONFIGURATION.format(
            timeout=timeout,
            socket=listening.fileno(),
            health=_HEALTH if asks_health else "",
            servers=servers,
        )
        (directory / "haproxy.cfg").write_text(text, encoding="utf-8")
        log = directory / "haproxy.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                [program, "-db", "-f", str(directory / "haproxy.cfg")],
                stdout=file,
                stderr=file,
                pass_fds=[listening.fileno()],
            )
        return Balancer(listening.getsockname()[1], process, log)


@contextlib.contextmanager
def balancer(ports: Sequence[int], *, asks_health: bool = False) -> Iterator[Balancer]:
    """As `start_balancer`, for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="trellis-balancer-") as directory:
        started = start_balancer(Path(directory), ports, asks_health=asks_health)
        try:
            yield started
        finally:
            try:
                started.check_runs()
            finally:
                started.stop()
