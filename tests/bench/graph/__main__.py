# SPDX-License-Identifier: Apache-2.0
"""Measures one scenario: `python -m tests.bench.graph TASK RESULT`, both named by the benchmark."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from homeserver.cli.run import SWITCH_SECONDS
from tests.bench.graph.backfill import backfill
from tests.bench.graph.churn import churn
from tests.bench.graph.joining import joining
from tests.bench.graph.memory import at_rest, fill_cold, fill_hot, hot
from tests.bench.graph.old_state import old_state
from tests.bench.graph.split import split_at_once, split_in_transactions
from tests.bench.graph.tangle import tangle
from tests.bench.graph.task import Task

Scenario = Callable[[Task, Any], Coroutine[Any, Any, Mapping[str, float]]]

SCENARIOS: Mapping[str, Scenario] = {
    "split": split_in_transactions,
    "split-at-once": split_at_once,
    "backfill": backfill,
    "churn": churn,
    "join": joining,
    "tangle": tangle,
    "old-state": old_state,
    "fill-cold": fill_cold,
    "fill-hot": fill_hot,
    "at-rest": at_rest,
    "hot": hot,
}


def main(reactor: Any, task_json: str, result: str) -> Deferred[None]:
    """Measure, and write what was read as JSON into the file `result`."""
    sys.setswitchinterval(SWITCH_SECONDS)
    task = Task.decode(task_json)

    async def measure() -> None:
        read = await SCENARIOS[task.scenario](task, reactor)
        Path(result).write_text(json.dumps(read))

    return Deferred.fromCoroutine(measure())


if __name__ == "__main__":
    react(main, sys.argv[1:])
