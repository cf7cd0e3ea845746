# SPDX-License-Identifier: Apache-2.0
"""One process that commits: `python -m tests.bench.scaling TASK RESULT`, both named by the benchmark."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from homeserver.cli.run import SWITCH_SECONDS
from tests.bench.scaling.committing import Task, commit_for_a_while


def main(reactor: Any, task_json: str, result: str) -> Deferred[None]:
    """Commit, and write what came of it as JSON into the file `result`."""
    sys.setswitchinterval(SWITCH_SECONDS)

    async def measure() -> None:
        read = await commit_for_a_while(Task.decode(task_json), reactor)
        Path(result).write_text(json.dumps(read))

    return Deferred.fromCoroutine(measure())


if __name__ == "__main__":
    react(main, sys.argv[1:])
