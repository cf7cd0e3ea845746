# SPDX-License-Identifier: Apache-2.0
"""The command line as a subprocess."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from homeserver.cli.program import run_program
from tests.support.small_program import SmallServer

ROOT = Path(__file__).parents[3]
SMALL = (sys.executable, "-m", "tests.support.small_program")

Trellis = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error,ignore::ResourceWarning",
        "COLUMNS": "100",
        **more,
    }


@pytest.fixture
def trellis(tmp_path: Path) -> Trellis:
    """Runs a command in an empty directory until it ends."""

    def call(*arguments: str, stdin: str | bytes = "") -> subprocess.CompletedProcess[str]:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [*SMALL, *arguments], cwd=tmp_path, env=environment(), input=data, capture_output=True, timeout=60
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return call


@pytest.fixture
def at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Trellis:
    """Runs a command that needs no reactor in an empty directory, without a process of its own."""

    def call(*arguments: str, stdin: str | bytes = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        status = run_program(arguments, reactor=reactor, build_server=SmallServer)
        told = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, status, told.out, told.err)

    return call


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command in an empty directory; what still runs at the end of the test is killed."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, fault: str = "", **more: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*SMALL, *arguments],
            cwd=tmp_path,
            env=environment(TRELLIS_TEST_FAULT=fault),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()
