# SPDX-License-Identifier: Apache-2.0
"""The program itself: its names, its help, wrong command lines."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from homeserver.cli.program import run_program
from tests.homeserver.cli.conftest import environment
from tests.support.small_program import SmallServer

VERSION = f"Trellis {importlib.metadata.version('trellis-homeserver')}\n"


@pytest.mark.parametrize(
    "command", [[sys.executable, "-m", "homeserver"], [str(Path(sys.executable).with_name("trellis"))]]
)
def test_it_is_one_program_under_two_names(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [*command, "--version"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, VERSION, "")


def test_help_names_every_command(trellis: Any) -> None:
    done = trellis("--help")
    assert done.returncode == 0
    for command in ("run", "init", "check", "user"):
        assert command in done.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["init"], ["user"], ["user", "create"], ["run", "--fast"]]
)
def test_a_wrong_command_line_exits_2_with_its_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_program(arguments, reactor=reactor, build_server=SmallServer)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: trellis")
