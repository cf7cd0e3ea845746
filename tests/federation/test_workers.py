# SPDX-License-Identifier: Apache-2.0
"""Worker processes: real ones."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError as TakenBack
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from federation.rules.state_resolution.resolution import resolve
from federation.workers import Workers
from tests.support.reactor import in_reactor
from tests.support.resolving import ALICE, BOB, Story

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workers() -> Iterator[Workers]:
    """One process, which ends with the test."""
    workers = Workers(processes=1, reactor=reactor)
    yield workers
    in_reactor(workers.close())


def kill_itself_once(mark: str) -> int:
    """Die the first time."""
    if not os.path.exists(mark):
        Path(mark).touch()
        signal.raise_signal(signal.SIGKILL)
    return os.getpid()


async def test_a_result_comes_from_another_process_to_the_reactors_thread(workers: Workers) -> None:
    thread = threading.get_ident()
    assert await workers.run(math.gcd, 12, 18) == 6
    assert threading.get_ident() == thread
    pid = await workers.run(os.getpid)
    assert pid != os.getpid()
    assert await workers.run(os.getpid) == pid


async def test_an_exception_comes_back(workers: Workers) -> None:
    with pytest.raises(ZeroDivisionError):
        await workers.run(divmod, 1, 0)


async def test_calls_are_counted_with_their_seconds(workers: Workers) -> None:
    await workers.run(time.sleep, 0.05)
    with pytest.raises(ZeroDivisionError):
        await workers.run(divmod, 1, 0)
    assert workers.calls.count == 2
    assert 0.05 <= workers.calls.seconds < 60


async def test_a_conflict_is_resolved_as_it_is_here(workers: Workers) -> None:
    story = Story("11")
    story.member("alice", ALICE, ALICE, "join", prev="create")
    story.levels("levels", ALICE, {ALICE: 100}, "alice")
    story.join_rule("public", ALICE, "public", "alice levels")
    story.member("bob", BOB, BOB, "join", "levels public")
    story.member("ban", ALICE, BOB, "ban", "alice levels bob")
    conflict = story.conflict(
        story.state("create alice levels public bob"), story.state("create alice levels public ban")
    )
    resolved = await workers.run(resolve, conflict)
    assert resolved == resolve(conflict) == {("m.room.member", BOB): "$ban"}


async def test_a_call_that_lost_its_process_is_tried_once_more(workers: Workers, tmp_path: Path) -> None:
    pid = await workers.run(os.getpid)
    assert await workers.run(kill_itself_once, str(tmp_path / "mark")) not in (pid, os.getpid())


async def test_a_call_that_kills_twice_fails_and_others_go_on(workers: Workers) -> None:
    with pytest.raises(BrokenProcessPool):
        await workers.run(signal.raise_signal, signal.SIGKILL)
    assert await workers.run(math.gcd, 12, 18) == 6


async def test_every_call_that_was_lost_is_tried_again(workers: Workers, tmp_path: Path) -> None:
    dying = Deferred.fromCoroutine(workers.run(kill_itself_once, str(tmp_path / "mark")))
    others = [Deferred.fromCoroutine(workers.run(math.gcd, 12, n)) for n in (18, 8)]
    assert [await other for other in others] == [6, 4]
    await dying


async def test_an_interrupt_from_the_keyboard_is_the_parents_matter(workers: Workers) -> None:
    pid = await workers.run(os.getpid)
    await workers.run(signal.raise_signal, signal.SIGINT)
    assert await workers.run(os.getpid) == pid


async def test_what_is_under_way_ends_before_the_close() -> None:
    workers = Workers(processes=1, reactor=reactor)
    await workers.run(os.getpid)
    sleeping = [Deferred.fromCoroutine(workers.run(time.sleep, 0.1)) for _ in range(8)]
    await sleeping[0]
    # One call runs, and few more stand in the pipe to the process: the last ones have not begun.
    await workers.close()
    assert await sleeping[1] is None
    with pytest.raises(TakenBack):
        await sleeping[-1]
    for other in sleeping[2:-1]:
        other.addErrback(lambda failure: failure.trap(TakenBack))
    with pytest.raises(RuntimeError):
        await workers.run(os.getpid)
    await workers.close()


async def test_workers_that_did_nothing_close() -> None:
    await Workers(processes=1, reactor=reactor).close()


async def test_a_call_is_cancelled(workers: Workers) -> None:
    await workers.run(os.getpid)
    sleeping = [Deferred.fromCoroutine(workers.run(time.sleep, 0.1)) for _ in range(2)]
    for cancelled in sleeping:
        cancelled.cancel()
        with pytest.raises(CancelledError):
            await cancelled
    assert await workers.run(math.gcd, 12, 18) == 6


PROGRAM = """
import os, signal, sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from federation.rules.state_resolution.resolution import resolve
from federation.workers import Workers

async def work():
    workers = Workers(processes=1, reactor=reactor)
    try:
        {work}
    finally:
        reactor.stop()

if __name__ == "__main__":
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(work()))
    reactor.run()
"""


def run_program(tmp_path: Path, work: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own that has workers. Ends when all its processes have: they hold its output."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(work=work))
    return subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_worker_imports_the_rules_and_not_the_program(tmp_path: Path) -> None:
    asked = "' '.join({m.split('.')[0] if m[:10] != 'federation' else m for m in __import__('sys').modules})"
    work = f'await workers.run(id, resolve); print(await workers.run(eval, "{asked}")); await workers.close()'
    done = run_program(tmp_path, work)
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.split())
    assert "federation.rules.state_resolution.resolution" in modules
    assert not modules & {"twisted", "homeserver", "psycopg2", "sqlite3"}
    assert {m for m in modules if m.startswith("federation") and not m.startswith("federation.rules")} == {
        "federation",
        "federation.worker_process",
    }


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    work = "print(await workers.run(os.getpid), flush=True); signal.raise_signal(signal.SIGKILL)"
    done = run_program(tmp_path, work)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert int(done.stdout) > 0
