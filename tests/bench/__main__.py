# SPDX-License-Identifier: Apache-2.0
"""The one command: measure, print, write."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from tests.bench.machine import Cores, describe_machine, filesystem_of, share_out_cores
from tests.bench.options import Options, read_options
from tests.bench.report import plain, write_section
from tests.bench.results import Results
from tests.bench.runner import EngineRun
from tests.bench.servers.bare import Bare
from tests.bench.servers.recipe import Recipe
from tests.bench.servers.synapse import Synapse
from tests.bench.servers.trellis import Trellis


def main() -> int:
    """Run the benchmark; 1 where a figure failed."""
    options = read_options()
    cores = share_out_cores()
    if not cores.apart:
        say("There is one core only: the load generator takes from what is measured.")
    os.sched_setaffinity(0, cores.load)
    _raise_file_limit()
    os.nice(options.nice)
    with tempfile.TemporaryDirectory(prefix="trellis-bench-", dir=options.directory) as name:
        directory = Path(name)
        directory.chmod(0o755)  # the user `postgres` has to reach its part
        if filesystem_of(directory) == "tmpfs":
            say(f"{directory} is on tmpfs, where a sync costs nothing: choose another --directory.")
        results = asyncio.run(_measure(options, cores, directory))
    print(plain(results))
    if options.json is not None:
        options.json.write_text(json.dumps(attrs.asdict(results), indent=1))
    if options.report is not None:
        write_section(options.report, results)
    return 1 if any(outcome.error for engine in results.engines for outcome in engine.outcomes) else 0


async def _measure(options: Options, cores: Cores, directory: Path) -> Results:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    engines = []
    for engine in options.engines:
        place = directory / engine
        place.mkdir()
        run = EngineRun(
            engine=engine,
            recipes=_recipes(options),
            figures=options.figures,
            scale=options.scale,
            cores=cores,
            directory=place,
            say=say,
        )
        engines.append(await run.measure())
    return Results(
        date=time.strftime("%Y-%m-%d %H:%M %Z"),
        scale=options.scale.name,
        machine=describe_machine(cores),
        file_system=filesystem_of(directory),
        engines=engines,
    )


def _recipes(options: Options) -> list[Recipe]:
    makers: dict[str, Callable[[], Recipe]] = {
        "trellis": lambda: Trellis(options.commit),
        "synapse": lambda: Synapse(options.synapse_version),
        "bare": Bare,
    }
    return [makers[name]() for name in options.servers]


def _raise_file_limit() -> None:
    """10,000 connections need as many files, here and in the servers, which inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def say(text: str) -> None:
    """Progress goes to standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
