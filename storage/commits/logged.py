# SPDX-License-Identifier: Apache-2.0
"""Commits of a program beside the servers, of which those that run take note."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from storage.commits.log import CommitLog
from storage.engine.statement import Batch, Row
from storage.write_queue import Committed


class LoggedCommits:
    """The `shared` of a write queue that writes into the log and follows nobody.

    A program that takes positions and does not log them has every process that follows the log lose the
    thread. The processes find what it wrote when they next look at the position.
    """

    def __init__(self, log: CommitLog) -> None:
        self._log = log

    def writing(self, records: bytes, positions: int) -> tuple[Batch, Sequence[Row]]:
        """The statement by which a commit notes itself in the log."""
        return self._log.writing(records, positions)

    def committed(
        self,
        batch: Sequence[Committed],  # noqa: ARG002
        base: int,  # noqa: ARG002
        upto: int,  # noqa: ARG002
        records: bytes,  # noqa: ARG002
        then: Callable[[], None],
    ) -> None:
        """Nobody here waits for a turn."""
        then()

    def committed_unnoted(
        self,
        batch: Sequence[Committed],  # noqa: ARG002
        base: int,  # noqa: ARG002
        then: Callable[[], None],
    ) -> None:
        """Nobody here waits for a turn."""
        then()
