# SPDX-License-Identifier: Apache-2.0
"""One of several processes that serve a homeserver, as its parent sees it."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from homeserver.cli.child import (
    FIRST_SOCKET,
    LIFELINE,
    READY,
    SHARES,
    VARIABLE,
    Place,
    read_ready,
    written_place,
)

logger = logging.getLogger(__name__)

KILL_SECONDS = 12.0
"""How long a process may take to stop, which ends itself after 10 s."""

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
LONG_LIFE_SECONDS = 60.0
"""Whoever has lived this long is started at once again."""


def command_of_this_program() -> list[str]:
    """What starts the program as it was started, with its options and those of Python."""
    return [sys.executable, *sys.orig_argv[1:]]


@attrs.define
class BackOff:
    """How long to wait before a process that has ended is started again: not at all the first time."""

    _next: float = 0.0

    def after(self, lifetime: float) -> float:
        """The pause after a life of so many seconds."""
        pause = 0.0 if lifetime >= LONG_LIFE_SECONDS else self._next
        self._next = min(LONGEST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, 2 * pause))
        return pause


@attrs.frozen
class End:
    """How a process ended."""

    status: int | None
    signal: int | None

    @property
    def orderly(self) -> bool:
        return self.status == 0

    def __str__(self) -> str:
        if self.signal is None:
            return f"with status {self.status}"
        try:
            return f"by {signal.Signals(self.signal).name}"
        except ValueError:
            return f"by signal {self.signal}"


class ChildProcess(ProcessProtocol):
    """A process from its start to its end. `changed` is called when it is ready and when it has ended."""

    def __init__(self, process: str, *, reactor: Any, changed: Callable[[ChildProcess], None]) -> None:
        self.process = process
        self.addresses: list[str] | None = None
        """Where it serves; None before it is ready."""
        self.end: End | None = None
        self.asked = False
        """Whether it was asked to end."""
        self.started: float = reactor.seconds()
        self._reactor = reactor
        self._changed = changed
        self._said = b""
        self._watchdog: Any = None
        self.pid = 0
        self.transport: Any

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return self.addresses is not None and self.end is None

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        try:
            self.transport.signalProcess(number)
        except (ProcessExitedAlready, OSError):
            return

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self.asked or self.end is not None:
            return
        self.asked = True
        self.signal(signal.SIGTERM)
        self._watchdog = self._reactor.callLater(KILL_SECONDS, self._kill)

    def connectionMade(self) -> None:  # noqa: N802
        """It runs."""
        self.pid = self.transport.pid

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803
        """It says that it is ready."""
        self._said += data
        if childFD == READY and self._said.endswith(b"\n") and self.end is None:
            self.addresses = read_ready(self._said)
            self._changed(self)

    def processExited(self, reason: Failure) -> None:  # noqa: N802
        """It has ended."""
        if self._watchdog is not None and self._watchdog.active():
            self._watchdog.cancel()
        value: Any = reason.value
        self.end = End(value.exitCode, value.signal)
        self._changed(self)

    def _kill(self) -> None:
        logger.error("Process %s did not stop in %d s and is killed", self.pid, KILL_SECONDS)
        self.signal(signal.SIGKILL)


@attrs.frozen(kw_only=True)
class Passed:
    """What every process is given: `sockets` by the index of their listener, and the file of the shares."""

    sockets: Mapping[int, Sequence[int]]
    shares: int
    processes: int


def start_child(
    *,
    number: int,
    command: Sequence[str],
    passed: Passed,
    reactor: Any,
    changed: Callable[[ChildProcess], None],
) -> ChildProcess:
    """Start a process in place `number`."""
    process = secrets.token_hex(8)
    child = ChildProcess(process, reactor=reactor, changed=changed)
    descriptors: dict[int, int | str] = {0: 0, 1: 1, 2: 2, READY: "r", LIFELINE: "w", SHARES: passed.shares}
    sockets: dict[int, tuple[int, ...]] = {}
    free = FIRST_SOCKET
    for index, listening in passed.sockets.items():
        sockets[index] = tuple(range(free, free + len(listening)))
        descriptors.update(zip(sockets[index], listening, strict=True))
        free += len(listening)
    place = written_place(Place(process, number, sockets), passed.processes)
    reactor.spawnProcess(
        child, command[0], list(command), {**os.environ, VARIABLE: place}, childFDs=descriptors
    )
    return child
