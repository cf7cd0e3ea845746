# SPDX-License-Identifier: Apache-2.0
"""What every figure has: lines of the report, a preparation, and a measurement that can be repeated."""

from __future__ import annotations

import abc
import statistics
from collections.abc import Mapping
from typing import ClassVar, Literal

import attrs

from tests.bench.stage import Stage


@attrs.frozen
class Line:
    """One line of the report.

    `aim` is the value that is meant to be reached on a machine with two quiet cores, `wanted` how many times
    better than Synapse, which counts on any machine. Either will do.
    """

    key: str
    title: str
    unit: str
    better: Literal["more", "less"]
    aim: float | None = None
    wanted: float | None = None

    def reached(self, ours: float, ratio: float | None) -> bool | None:
        """Whether the value `ours`, or `ratio` times Synapse's, is what is meant to be; None for no aim."""
        if self.aim is not None and (ours >= self.aim if self.better == "more" else ours <= self.aim):
            return True
        return None if self.wanted is None or ratio is None else ratio >= self.wanted

    def times_better(self, ours: float, theirs: float) -> float | None:
        """How many times better `ours` is, above 1 where it is better; None where nothing can be said."""
        if min(ours, theirs) <= 0:
            return None
        return ours / theirs if self.better == "more" else theirs / ours


@attrs.frozen
class Reading:
    """What one measurement gave: a value for each line, and details that explain them."""

    values: Mapping[str, float]
    details: Mapping[str, float] = attrs.field(factory=dict)


class Figure(abc.ABC):
    """A figure of one server; a fresh object for each run."""

    #: What `--figures` knows it by.
    name: ClassVar[str]
    lines: ClassVar[tuple[Line, ...]]
    #: Whether the bare server can be asked for it.
    limit: ClassVar[bool] = False
    #: Whether only Trellis can be asked for it.
    ours: ClassVar[bool] = False
    #: What `--figures` knows it and others by together.
    group: ClassVar[str | None] = None
    #: Whether it is measured only with `--heavy` or by name.
    heavy: ClassVar[bool] = False
    #: Whether it is measured only by name, since not every run can.
    by_name: ClassVar[bool] = False
    #: How often it is measured where that is not the scale's to say.
    repeats: ClassVar[int | None] = None

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @abc.abstractmethod
    async def prepare(self) -> None:
        """Set the stage; not measured."""

    @abc.abstractmethod
    async def measure(self) -> Reading:
        """Measure once. Raises where the server does not do what the figure needs."""

    @staticmethod
    def combine(values: list[float]) -> float:
        """One value from those of all measurements: the median."""
        return statistics.median(values)
