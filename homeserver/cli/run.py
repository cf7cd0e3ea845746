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
from collections.abc import Sequence
from types import FrameType
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from homeserver.cli.child import Lifeline, Place, take_place, tell_ready
from homeserver.cli.children import command_of_this_program
from homeserver.cli.files import add_config_option, chosen_config, make_data_directory
from homeserver.cli.front import MOST_PROCESSES, Front, check_processes
from homeserver.cli.logs import install_logging
from homeserver.cli.problem import Problem, explained, one_line
from homeserver.cli.process import collect_garbage_seldom, pid_file, raise_file_limit
from homeserver.cli.sockets import check_passed_sockets, config_of_process
from homeserver.config.config import Config
from homeserver.config.place import Level
from storage.gone_processes import remove_gone_process

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

    def reload_certificates(self) -> None:
        """Read the certificates of TLS again, for new connections."""

    @property
    def lost(self) -> Deferred[str]:
        """Fires, with the reason, when the server can only start again."""

    @property
    def addresses(self) -> Sequence[str]:
        """Where it listens: `http://127.0.0.1:8008`, `unix:/run/trellis/main.sock`."""


class BuildServer(Protocol):
    """Makes the server of a configuration on a reactor."""

    def __call__(self, config: Config, reactor: Any, place: Place | None = None, /) -> Server:
        """`place`: which of several processes this is; None where it is the only one."""


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
    parser.add_argument(
        "--processes",
        type=_processes,
        default=1,
        metavar="N",
        help="serve with N processes, which share the work; needs PostgreSQL (default: 1)",
    )
    parser.set_defaults(
        command=functools.partial(
            run, reactor=reactor, build_server=build_server, finish_seconds=finish_seconds
        )
    )


def _processes(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MOST_PROCESSES:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MOST_PROCESSES}")
    return int(text)


def run(
    arguments: argparse.Namespace, *, reactor: Any, build_server: BuildServer, finish_seconds: float
) -> int:
    """Run the server until SIGTERM or SIGINT; the exit status.

    Raises:
        ConfigError, Problem, ListenerError: it cannot start.
    """
    place = take_place(os.environ)
    config = chosen_config(arguments)
    if place is not None:
        check_passed_sockets(config, place.sockets)
        config = config_of_process(config, place.number)
        install_logging(config.operation.log_config, process=place.number)
        sys.setswitchinterval(SWITCH_SECONDS)
        server = build_server(config, reactor, place)
        course = Run(config, reactor=reactor, server=server, finish_seconds=finish_seconds, place=place)
        return course.until_stopped(arguments.traceback)
    several = arguments.processes > 1
    if several:
        check_processes(config, arguments.processes)
    make_data_directory(config)
    install_logging(config.operation.log_config, process=0 if several else None)
    for notice in config.notices:
        logger.log(logging.WARNING if notice.level is Level.WARNING else logging.INFO, "%s", notice)
    raise_file_limit(config.server.soft_file_limit)
    with pid_file(config.server.pid_file):
        if several:
            return _front(arguments, config, reactor).until_stopped()
        sys.setswitchinterval(SWITCH_SECONDS)
        server = build_server(config, reactor)
        course = Run(config, reactor=reactor, server=server, finish_seconds=finish_seconds)
        return course.until_stopped(arguments.traceback)


def _front(arguments: argparse.Namespace, config: Config, reactor: Any) -> Front:
    return Front(
        config,
        reactor=reactor,
        processes=arguments.processes,
        command=command_of_this_program(),
        forget=functools.partial(remove_gone_process, config.database.database.arguments),
        read_config=functools.partial(chosen_config, arguments),
    )


class Run:
    """One run of a server: it starts when the reactor does, and is stopped once.

    `place`: it is one of several processes, whose parent is told that it is ready.
    """

    def __init__(
        self,
        config: Config,
        *,
        reactor: Any,
        server: Server,
        finish_seconds: float,
        place: Place | None = None,
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._server = server
        self._finish_seconds = finish_seconds
        self._place = place
        self._starting: Deferred[None] | None = None
        self._failure: BaseException | None = None
        self._stop_asked = False

    def until_stopped(self, show_traceback: bool) -> int:
        """Run the reactor; the exit status. A failed start is told on standard error."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        if self._place is not None:
            signal.signal(signal.SIGHUP, self._hung_up)
            Lifeline(reactor=self._reactor, cut=functools.partial(self._stop, "The parent process is gone"))
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
        self._server.lost.addCallback(self._lost)
        collect_garbage_seldom()
        if self._place is None:
            self._announce()
        else:
            tell_ready(self._server.addresses)

    def _announce(self) -> None:
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

    def _lost(self, reason: str) -> None:
        self._failure = Problem(reason)
        self._stop(reason)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._stop, signal.Signals(number).name)

    def _hung_up(self, _number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._server.reload_certificates)

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
