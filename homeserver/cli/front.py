# SPDX-License-Identifier: Apache-2.0
"""`trellis run --processes N`: the parent of the processes that serve. It listens, and starts them again.

The parent opens the sockets that clients connect to, so that they stay open whichever process comes or goes;
it accepts nothing itself and does not touch the homeserver's data.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import attrs
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from federation.http.connection_shares import ConnectionShares
from homeserver.cli.children import BackOff, ChildProcess, Passed, start_child
from homeserver.cli.problem import Problem
from homeserver.cli.sockets import SharedSockets, check_own_ports, own_ports, shared_listeners
from homeserver.config.config import Config
from homeserver.config.place import ConfigError

logger = logging.getLogger(__name__)

MOST_PROCESSES = 128


def check_processes(config: Config, processes: int) -> None:
    """Raises Problem where `processes` cannot serve the homeserver of this configuration together."""
    if config.database.database.engine != "postgresql":
        raise Problem(
            "--processes: several processes need PostgreSQL, and the configuration names SQLite; set "
            "database to psycopg2, or run one process"
        )
    check_own_ports(config, processes)


@attrs.define
class Slot:
    """The place of one process, whoever has it now."""

    number: int
    child: ChildProcess | None = None
    back_off: BackOff = attrs.field(factory=BackOff)
    restart: Any = None
    """The call that will start a process here."""

    @property
    def ready(self) -> bool:
        """Whether a process serves here."""
        return self.child is not None and self.child.ready


class Front:
    """Keeps processes running until it is told to stop.

    `command` starts one; `forget` takes a process that has died out of the database, and may block;
    `read_config` reads the configuration again, before processes are replaced by those that will use it.
    """

    def __init__(
        self,
        config: Config,
        *,
        reactor: Any,
        processes: int,
        command: Sequence[str],
        forget: Callable[[str], None],
        read_config: Callable[[], Config],
    ) -> None:
        """Open the sockets. Raises ListenerError."""
        self._config = config
        self._reactor = reactor
        self._command = command
        self._forget = forget
        self._read_config = read_config
        self._sockets = SharedSockets(config, reactor=reactor)
        self._shares_file = tempfile.TemporaryFile()  # noqa: SIM115
        ConnectionShares.make_file(self._shares_file.fileno(), processes)
        self._shares = ConnectionShares(self._shares_file.fileno(), processes=processes)
        self._slots = tuple(Slot(number) for number in range(1, processes + 1))
        self._begun = False
        self._stopping = False
        self._status = 0
        self._forgetting = 0
        self._to_replace: list[tuple[Slot, ChildProcess | None]] = []

    def until_stopped(self) -> int:
        """Run the reactor until SIGTERM or SIGINT, and all processes have ended; the exit status."""
        self._reactor.callWhenRunning(self._begin)
        # Twisted's handlers, because without them nobody hears of the end of a process.
        self._reactor.run()
        return self._status

    def _begin(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, self._signalled)
        for ports in own_ports(self._config, len(self._slots)):
            logger.info(
                "Each process has metrics of its own: process 1 on port %d, and so on up to port %d",
                ports[0],
                ports[-1],
            )
        # The first brings the database up to date; the others follow when it serves.
        self._start(self._slots[0])

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        actions = {signal.SIGHUP: self._pass_on_hang_up, signal.SIGUSR1: self._replace_all}
        action = actions.get(signal.Signals(number))
        if action is None:
            self._reactor.callFromThread(self._stop, signal.Signals(number).name)
        else:
            self._reactor.callFromThread(action)

    # Processes that start and end

    def _start(self, slot: Slot) -> None:
        slot.restart = None
        slot.child = start_child(
            number=slot.number,
            command=self._command,
            passed=Passed(
                sockets=self._sockets.descriptors(),
                shares=self._shares_file.fileno(),
                processes=len(self._slots),
            ),
            reactor=self._reactor,
            changed=lambda child: self._changed(slot, child),
        )

    def _changed(self, slot: Slot, child: ChildProcess) -> None:
        if child.end is not None:
            slot.child = None
            self._ended(slot, child)
        elif self._begun:
            logger.info("Process %d (pid %d) is ready", slot.number, child.pid)
        if self._stopping:
            self._finish_if_alone()
        elif not self._begun:
            self._continue_start()
        else:
            self._continue_replacing()

    def _continue_start(self) -> None:
        if not self._slots[0].ready:
            return
        for slot in self._slots[1:]:
            if slot.child is None:
                self._start(slot)
        if all(slot.ready for slot in self._slots):
            self._begun = True
            self._announce()

    def _announce(self) -> None:
        addresses = [address for slot in self._slots if slot.child for address in slot.child.addresses or ()]
        where = ", ".join(dict.fromkeys(addresses))
        line = f"Trellis is ready on {where} as {self._config.server_name} ({len(self._slots)} processes)"
        # Whoever reads the output may have gone; the server stays.
        with contextlib.suppress(OSError):
            print(line, flush=True)

    def _ended(self, slot: Slot, child: ChildProcess) -> None:
        assert child.end is not None
        self._shares.remove(slot.number - 1)
        if not child.end.orderly:
            self._take_out(child)
        if self._stopping:
            return
        if not self._begun:
            self._start_failed(slot, child)
        elif child.asked:
            self._start(slot)
        else:
            pause = slot.back_off.after(self._reactor.seconds() - child.started)
            when = f"in {pause:g} s" if pause else "at once"
            logger.error(
                "Process %d (pid %d) has ended %s; it is started again %s",
                slot.number,
                child.pid,
                child.end,
                when,
            )
            slot.restart = self._reactor.callLater(pause, self._start, slot)

    def _start_failed(self, slot: Slot, child: ChildProcess) -> None:
        """A process ended before all were ready. What it has told itself is not told again."""
        assert child.end is not None
        self._status = 1
        if child.end.status != 1:
            print(f"trellis: process {slot.number} ended {child.end} while it started", file=sys.stderr)
        self._stop()

    def _take_out(self, child: ChildProcess) -> None:
        self._forgetting += 1
        forgetting = deferToThreadPool(
            self._reactor, self._reactor.getThreadPool(), self._forget, child.process
        )
        forgetting.addErrback(_note_failure)
        forgetting.addBoth(self._forgotten)

    def _forgotten(self, _result: object) -> None:
        self._forgetting -= 1
        if self._stopping:
            self._finish_if_alone()

    # The signals

    def _pass_on_hang_up(self) -> None:
        for slot in self._slots:
            if slot.child is not None and slot.child.ready:
                slot.child.signal(signal.SIGHUP)

    def _replace_all(self) -> None:
        if self._stopping or not self._begun or self._to_replace:
            logger.warning("SIGUSR1: the processes are being started or replaced already")
            return
        try:
            config = self._read_config()
            if shared_listeners(config) != shared_listeners(self._config):
                raise Problem("the listeners have changed, which takes a stop and a start")
            check_processes(config, len(self._slots))
        except (ConfigError, Problem) as error:
            logger.error("SIGUSR1: no process is replaced: %s", error)
            return
        logger.info("SIGUSR1: one process after the other is replaced")
        self._to_replace = [(slot, slot.child) for slot in self._slots]
        self._continue_replacing()

    def _continue_replacing(self) -> None:
        """Stop the next process as soon as all others serve."""
        while self._to_replace:
            slot, old = self._to_replace[0]
            if slot.child is not None and slot.child is old:
                if all(other.ready for other in self._slots if other is not slot):
                    logger.info("Process %d (pid %d) is replaced", slot.number, old.pid)
                    old.stop()
                return
            if not slot.ready:
                return
            self._to_replace.pop(0)
            if not self._to_replace:
                logger.info("All processes have been replaced")

    def _stop(self, reason: str = "") -> None:
        if self._stopping:
            return
        self._stopping = True
        if reason:
            logger.info("%s: all processes finish what is in flight", reason)
        self._sockets.close()
        for slot in self._slots:
            if slot.restart is not None and slot.restart.active():
                slot.restart.cancel()
            if slot.child is not None:
                slot.child.stop()
        self._finish_if_alone()

    def _finish_if_alone(self) -> None:
        if all(slot.child is None for slot in self._slots) and not self._forgetting and self._reactor.running:
            self._reactor.stop()


def _note_failure(failure: Failure) -> None:
    logger.warning("A process that has ended stays in the database for some seconds: %s", failure.value)
