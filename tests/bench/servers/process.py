# SPDX-License-Identifier: Apache-2.0
"""A child process on its own cores: started, watched, halted, ended, always by its id."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

_TICKS = os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@attrs.frozen
class Command:
    """What to run: arguments, working directory, further environment, and the user to run as."""

    arguments: Sequence[str]
    directory: Path
    environment: Mapping[str, str] = attrs.field(factory=dict)
    user: str | None = None


class ChildProcess:
    """One child and its own children. The kernel kills it should this program die."""

    def __init__(self, command: Command, *, cores: frozenset[int], log: Path) -> None:
        def in_child() -> None:
            os.sched_setaffinity(0, cores)
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(command.arguments),
                cwd=command.directory,
                env={**os.environ, **command.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=command.user,
                group=command.user,
                extra_groups=None if command.user is None else [],
                preexec_fn=in_child,
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def end(self, how: signal.Signals = signal.SIGTERM, patience: float = 30.0) -> None:
        """Signal it and wait; after `patience` seconds, SIGKILL."""
        if not self.running:
            return
        self.resume()
        self._process.send_signal(how)
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def halt(self) -> None:
        """Stop it (SIGSTOP), so that it takes nothing from the server that is measured."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def pin(self, cores: frozenset[int]) -> None:
        """Move every thread to `cores`."""
        for pid in self.pids():
            for thread in _threads(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread, cores)

    def pids(self) -> list[int]:
        """Its process id and those of its descendants."""
        found, waiting = [], [self.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            for thread in _threads(pid):
                with contextlib.suppress(OSError):
                    children = Path(f"/proc/{pid}/task/{thread}/children").read_text()
                    waiting += [int(child) for child in children.split()]
        return found

    def resident_bytes(self) -> int:
        """Resident memory of all of them (VmRSS)."""
        return sum(_status_kib(pid, "VmRSS:") for pid in self.pids()) * 1024

    def cpu_seconds(self) -> float:
        """Processor time that they have used, in the kernel's ticks of mostly 10 ms."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS

    def thread_seconds(self) -> float:
        """Processor time of the threads that live now, to the nanosecond."""
        nanoseconds = 0
        for pid in self.pids():
            for thread in _threads(pid):
                with contextlib.suppress(OSError):
                    nanoseconds += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
        return nanoseconds / 1e9

    def log_size(self) -> int:
        """How many bytes it has printed."""
        return self.log.stat().st_size

    def log_tail(self, since: int = 0, lines: int = 15) -> str:
        """The end of what it has printed since there were `since` bytes."""
        text = self.log.read_bytes()[since:].decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def _threads(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    return []


def _status_kib(pid: int, field: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1])
    return 0


def wait_until_quiet(process: ChildProcess, *, patience: float) -> float:
    """Wait until `process` uses less than 15 % of a core over 60 ms, at most about `patience` seconds.

    Returns the seconds that it took.
    """
    begin = time.monotonic()
    while time.monotonic() - begin < patience:
        before = process.thread_seconds()
        time.sleep(0.06)
        if process.thread_seconds() - before < 0.009:
            break
    return time.monotonic() - begin
