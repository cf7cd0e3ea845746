# SPDX-License-Identifier: Apache-2.0
"""`trellis run`: the server, from its start to its end."""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from homeserver.cli.files import add_config_option, chosen_config, make_data_directory
from homeserver.cli.logs import install_logging
from homeserver.cli.problem import explained, one_line
from homeserver.cli.process import collect_garbage_seldom, pid_file, raise_file_limit
from homeserver.config.config import Config
from homeserver.config.place import Level

logger = logging.getLogger(__name__)

SWITCH_SECONDS = 0.0005
"""How long a thread keeps the interpreter. The database's threads ask for it at every row: with Python's 5 ms
a commit beside a busy reactor takes ten times as long."""

FINISH_SECONDS = 8.0
"""How long the server may take to finish what is in flight. It exits within 10 s of SIGTERM."""
END_SECONDS = 1.5
"""How long after that the process ends although a thread of it does not."""


class Server(Protocol):
    """What `trellis run` runs."""

    async def start(self) -> None:
        """Listen; when this returns, requests are answered."""

    async def stop(self) -> None:
        """Accept nothing more, finish what is in flight, close everything. Also after a failed start."""

    @property
    def addresses(self) -> Sequence[str]:
        """Where it listens: `http://127.0.0.1:8008`, `unix:/run/trellis/main.sock`."""


BuildServer = Callable[[Config, Any], Server]
"""Makes the server of a configuration on a reactor."""


def add_run(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    *,
    reactor: Any,
    build_server: BuildServer,
    finish_seconds: float,
) -> None:
    """Declare the command."""
    parser = commands.add_parser("run", help="run the server")
    add_config_option(parser)
    parser.add_argument(
        "--traceback", action="store_true", help="if the start fails, show where in the program it failed"
    )
    parser.set_defaults(
        command=functools.partial(
            run, reactor=reactor, build_server=build_server, finish_seconds=finish_seconds
        )
    )


def run(
    arguments: argparse.Namespace, *, reactor: Any, build_server: BuildServer, finish_seconds: float
) -> int:
    """Run the server until SIGTERM or SIGINT; the exit status.

    Raises:
        ConfigError, Problem: it cannot start.
    """
    config = chosen_config(arguments)
    make_data_directory(config)
    install_logging(config.operation.log_config)
    for notice in config.notices:
        logger.log(logging.WARNING if notice.level is Level.WARNING else logging.INFO, "%s", notice)
    raise_file_limit(config.server.soft_file_limit)
    sys.setswitchinterval(SWITCH_SECONDS)
    with pid_file(config.server.pid_file):
        server = build_server(config, reactor)
        course = Run(config, reactor=reactor, server=server, finish_seconds=finish_seconds)
        return course.until_stopped(arguments.traceback)


class Run:
    """One run of a server: it starts when the reactor does, and is stopped once."""

    def __init__(self, config: Config, *, reactor: Any, server: Server, finish_seconds: float) -> None:
        self._config = config
        self._reactor = reactor
        self._server = server
        self._finish_seconds = finish_seconds
        self._starting: Deferred[None] | None = None
        self._failure: BaseException | None = None
        self._stop_asked = False

    def until_stopped(self, show_traceback: bool) -> int:
        """Run the reactor; the exit status. A failed start is told on standard error."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._finish)
        self._reactor.callWhenRunning(self._start)
        # Our own handlers: a second signal while the server stops is no error.
        self._reactor.run(installSignalHandlers=False)
        if self._failure is None:
            return 0
        _tell(self._failure, show_traceback)
        return 1

    def _start(self) -> None:
        self._starting = Deferred.fromCoroutine(self._server.start())
        self._starting.addCallbacks(self._started, self._failed)

    def _started(self, _result: None) -> None:
        self._starting = None
        collect_garbage_seldom()
        where = ", ".join(self._server.addresses)
        lines = [f"Trellis is ready on {where} as {self._config.server_name}"]
        if not self._config.sources:
            lines.append(f"Everything is kept in {self._config.base}.")
            lines.append("Make an account with: trellis user create NAME --admin")
        # Whoever reads the output may have gone; the server stays.
        with contextlib.suppress(OSError):
            print("\n".join(lines), flush=True)

    def _failed(self, failure: Failure) -> None:
        self._starting = None
        if not (self._stop_asked and isinstance(failure.value, CancelledError)):
            self._failure = failure.value
        self._stop()

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._stop, signal.Signals(number).name)

    def _stop(self, reason: str = "") -> None:
        if self._stop_asked:
            return
        self._stop_asked = True
        if reason:
            logger.info("%s: finishing what is in flight", reason)
        self._reactor.stop()

    def _finish(self) -> Deferred[None]:
        """Stop the server within the time there is; fires in any case."""
        watchdog = threading.Timer(self._finish_seconds + END_SECONDS, _end)
        watchdog.daemon = True
        watchdog.start()
        if self._starting is not None:
            self._starting.cancel()
        stopping: Deferred[None] = Deferred.fromCoroutine(self._server.stop())
        stopping.addTimeout(self._finish_seconds, self._reactor)
        stopping.addErrback(self._not_finished)
        return stopping

    def _not_finished(self, failure: Failure) -> None:
        logger.error("The server did not stop as it should: %s", failure.getErrorMessage() or failure.type)


def _end() -> None:
    logger.error("A thread did not end; the process ends without it")
    os._exit(1)


def _tell(error: BaseException, show_traceback: bool) -> None:
    if show_traceback:
        traceback.print_exception(error)
    text = explained(error)
    if text is None:
        name = type(error).__name__
        text = (
            f"the start failed by a mistake in Trellis ({name}: {one_line(error)}); --traceback shows where"
        )
    print(f"trellis: {text}", file=sys.stderr)
