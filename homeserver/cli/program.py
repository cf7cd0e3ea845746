# SPDX-License-Identifier: Apache-2.0
"""The program `trellis`: its commands, and what it says when one fails."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Any

from homeserver.cli.check import add_check
from homeserver.cli.init import add_init
from homeserver.cli.problem import explained
from homeserver.cli.run import FINISH_SECONDS, BuildServer, add_run
from homeserver.cli.user import add_user

DISTRIBUTION = "trellis-homeserver"


def run_program(
    arguments: Sequence[str],
    *,
    reactor: Any,
    build_server: BuildServer,
    finish_seconds: float = FINISH_SECONDS,
) -> int:
    """Carry out a command line; the exit status: 0, 1 for what can be mended, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(prog="trellis", description="A Matrix homeserver.")
    version = f"Trellis {importlib.metadata.version(DISTRIBUTION)}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_run(commands, reactor=reactor, build_server=build_server, finish_seconds=finish_seconds)
    add_init(commands)
    add_check(commands)
    add_user(commands, reactor=reactor)
    return _carried_out(parser.parse_args(arguments))


def _carried_out(parsed: argparse.Namespace) -> int:
    try:
        status: int = parsed.command(parsed)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        text = explained(error)
        if text is None:
            raise
        print(f"trellis: {text}", file=sys.stderr)
        return 1
    return status
