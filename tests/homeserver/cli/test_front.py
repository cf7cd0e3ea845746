# SPDX-License-Identifier: Apache-2.0
"""`trellis run --processes N` around a small server: what the parent starts, starts again, replaces, ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.cli.child import VARIABLE, Place, take_place, written_place
from homeserver.cli.children import BackOff, End
from homeserver.cli.problem import Problem

# Nothing listens at port 1: the parent cannot take the dead out of it, which must not trouble it.
DATABASE = {"name": "psycopg2", "args": {"host": "127.0.0.1", "port": 1, "user": "u", "dbname": "d"}}
LISTENER = {"port": 0, "bind_addresses": ["127.0.0.1"], "resources": [{"names": ["client"]}]}


def write(path: Path, **changes: Any) -> None:
    settings = {"server_name": "example.org", "database": DATABASE, "listeners": [LISTENER], **changes}
    path.write_text(json.dumps(settings), encoding="utf-8")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "homeserver.yaml"
    write(path, pid_file="trellis.pid")
    return path


class Running:
    """A parent whose output is read all the time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: dict[str, list[str]] = {"out": [], "log": []}
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream))
            for name, stream in (("out", process.stdout), ("log", process.stderr))
        ]
        for reader in self._readers:
            reader.start()
        self.port = 0

    def _read(self, name: str, stream: Any) -> None:
        for line in stream:
            self.lines[name].append(line)

    def until(self, holds: Callable[[], object], seconds: float = 20) -> None:
        """Return when it holds."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.02)

    def said(self, words: str, times: int = 1) -> Callable[[], bool]:
        """Whether this is in so many lines of the log."""
        return lambda: sum(words in line for line in list(self.lines["log"])) >= times

    def until_ready(self, processes: int = 2) -> None:
        self.until(lambda: self.lines["out"] or self.process.poll() is not None)
        assert len(self.lines["out"]) == 1, self.lines
        match = re.fullmatch(
            rf"Trellis is ready on http://127\.0\.0\.1:(\d+) as example\.org \({processes} processes\)\n",
            self.lines["out"][0],
        )
        assert match, self.lines
        self.port = int(match[1])

    def pid(self) -> int:
        """The process that answers a request."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", "/pid", headers={"Connection": "close"})
            return int(connection.getresponse().read())

    def children(self) -> list[int]:
        """The process ids of the children, the oldest first."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [int(pid) for pid in text.split()]

    def ended(self) -> int:
        """The exit status, once it has ended."""
        status = self.process.wait(20)
        for reader in self._readers:
            reader.join(10)
        return status


@pytest.fixture
def front(start: Any, config: Path) -> Iterator[Callable[..., Running]]:
    """Starts `trellis run --processes 2`."""
    running: list[Running] = []

    def begin(*options: str, **more: Any) -> Running:
        process = start("run", "--config", str(config), "--processes", "2", *options, **more)
        running.append(Running(process))
        return running[-1]

    yield begin
    for one in running:
        if one.process.poll() is None:
            one.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.process.wait(15)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_processes_serve_together_and_end_together(
    front: Callable[..., Running], config: Path, number: int
) -> None:
    running = front()
    running.until_ready()
    assert (config.parent / "trellis.pid").read_text(encoding="ascii") == f"{running.process.pid}\n"
    children = running.children()
    assert len(children) == 2
    assert running.pid() in children
    running.process.send_signal(number)
    assert running.ended() == 0
    assert not any(alive(pid) for pid in children)
    assert not (config.parent / "trellis.pid").exists()
    log = "".join(running.lines["log"])
    assert "[p0] homeserver.cli.front [-] " + signal.Signals(number).name in log
    assert "[p1] homeserver.cli.run [-] SIGTERM" in log or number == signal.SIGINT
    assert "Traceback" not in log


def test_one_that_dies_is_started_again_with_growing_pauses(front: Callable[..., Running]) -> None:
    running = front()
    running.until_ready()
    first, second = running.children()
    os.kill(first, signal.SIGKILL)
    running.until(running.said(f"Process 1 (pid {first}) has ended by SIGKILL; it is started again at once"))
    assert running.pid() == second
    running.until(running.said("is ready"))
    # The database cannot be reached, and nobody minds.
    running.until(running.said("stays in the database for some seconds"))
    again = next(pid for pid in running.children() if pid != second)
    os.kill(again, signal.SIGKILL)
    running.until(running.said(f"Process 1 (pid {again}) has ended by SIGKILL; it is started again in 0.5 s"))
    running.until(running.said("is ready", 2))
    assert len(running.lines["out"]) == 1


def test_children_end_when_their_parent_is_killed(front: Callable[..., Running]) -> None:
    running = front()
    running.until_ready()
    children = running.children()
    running.process.kill()
    running.until(lambda: not any(alive(pid) for pid in children))
    running.ended()
    assert running.said("The parent process is gone: finishing what is in flight", 2)()


def test_all_are_replaced_one_after_the_other(front: Callable[..., Running]) -> None:
    running = front()
    running.until_ready()
    before = running.children()
    running.process.send_signal(signal.SIGUSR1)
    running.process.send_signal(signal.SIGUSR1)  # asking again does not begin it again
    running.until(running.said("All processes have been replaced"))
    after = running.children()
    assert len(after) == 2
    assert not set(before) & set(after)
    assert running.pid() in after
    lines = [line.split("[-] ")[1] for line in running.lines["log"] if " homeserver.cli.front " in line]
    steps = [line for line in lines if line.startswith("Process ")]
    assert [re.sub(r"pid \d+", "pid", line) for line in steps] == [
        "Process 1 (pid) is replaced\n",
        "Process 1 (pid) is ready\n",
        "Process 2 (pid) is replaced\n",
        "Process 2 (pid) is ready\n",
    ]


def test_a_hang_up_is_passed_on_and_nothing_replaced_by_what_could_not_start(
    front: Callable[..., Running], config: Path
) -> None:
    running = front()
    running.until_ready()
    before = running.children()
    running.process.send_signal(signal.SIGHUP)
    running.until(lambda: len(running.lines["out"]) == 3)
    assert sorted(running.lines["out"][1:]) == sorted(f"{pid} was told to reload\n" for pid in before)
    assert running.children() == before
    good = config.read_text(encoding="utf-8")
    for bad, words in (
        (good.replace('"port": 0', '"port": "http"'), "no process is replaced: .*listeners"),
        (good.replace('"port": 0', '"port": 8'), "the listeners have changed"),
    ):
        config.write_text(bad, encoding="utf-8")
        running.process.send_signal(signal.SIGUSR1)
        running.until(lambda words=words: re.search(words, "".join(running.lines["log"])))
    assert running.children() == before


# Starts that fail


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("database", "trellis: the database cannot be used: cannot connect to PostgreSQL"),
        ("second", "trellis: the database cannot be used: the second finds no database\n"),
    ],
)
def test_a_process_that_cannot_start_says_so_once(
    front: Callable[..., Running], fault: str, words: str
) -> None:
    running = front(fault=fault)
    assert running.ended() == 1
    assert running.lines["out"] == []
    assert sum(line.startswith("trellis: ") for line in running.lines["log"]) == 1
    assert any(line.startswith(words) for line in running.lines["log"])


def test_one_that_is_killed_while_it_starts(front: Callable[..., Running]) -> None:
    running = front(fault="hang")
    running.until(lambda: running.lines["out"] == ["starting\n"])
    (child,) = running.children()
    os.kill(child, signal.SIGKILL)
    assert running.ended() == 1
    assert "trellis: process 1 ended by SIGKILL while it started\n" in running.lines["log"]


def test_a_start_that_hangs_can_be_stopped(front: Callable[..., Running]) -> None:
    running = front(fault="hang")
    running.until(lambda: running.lines["out"] == ["starting\n"])
    running.process.terminate()
    assert running.ended() == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_upload_size": "big"}, 'max_upload_size: found "big"'),
        (
            {"database": {"name": "sqlite3", "args": {"database": "x.db"}}},
            "several processes need PostgreSQL",
        ),
        (
            {"listeners": [{**LISTENER, "port": 9001}, {"port": 9000, "type": "metrics"}]},
            "takes the ports 9000 to 9001, but 9001 is not free",
        ),
    ],
)
def test_a_configuration_that_does_not_do_is_one_line(
    at_once: Any, config: Path, changes: dict[str, Any], words: str
) -> None:
    write(config, **changes)
    check_one_line(at_once("run", "--processes", "2"), words)


def test_a_port_that_cannot_be_opened_is_one_line(trellis: Any, config: Path) -> None:
    write(config, listeners=[{**LISTENER, "bind_addresses": ["192.0.2.1"]}])
    check_one_line(trellis("run", "--processes", "2"), "this machine has no such address")


def check_one_line(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("trellis: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", ["0", "-1", "129", "two", "²"])
def test_a_number_of_processes_that_is_none(at_once: Any, number: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        at_once("run", "--processes", number)
    assert caught.value.code == 2
    assert "expected a number from 1 to 128" in capsys.readouterr().err


def test_one_process_is_no_several(start: Any, config: Path) -> None:
    process = start("run", "--config", str(config), "--processes", "1")
    assert process.stdout.readline().endswith(" as example.org\n")
    process.terminate()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "[p" not in errors


# The parts


def test_pauses_double_up_to_a_limit_and_a_long_life_is_rewarded() -> None:
    back_off = BackOff()
    assert [back_off.after(1) for _ in range(9)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [back_off.after(lifetime) for lifetime in (60, 1, 1)] == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (End(status=3, signal=None), "with status 3"),
        (End(status=None, signal=9), "by SIGKILL"),
        (End(status=None, signal=40), "by signal 40"),
    ],
)
def test_how_a_process_ended(end: End, text: str) -> None:
    assert str(end) == text
    assert not end.orderly


def test_without_a_parent_there_is_no_place() -> None:
    assert take_place({}) is None


@pytest.mark.parametrize(
    "text",
    ["", "x", "1", "[]", "[1, 2]", '["a", "b", "c", "d"]', written_place(Place("a", 1, {0: (999,)}), 2)],
)
def test_a_place_that_no_parent_gave(text: str) -> None:
    environment = {VARIABLE: text}
    with pytest.raises(Problem, match="unset it"):
        take_place(environment)
    assert environment == {}
