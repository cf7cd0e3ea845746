# SPDX-License-Identifier: Apache-2.0
"""What a run has found out, as records that the report and the JSON file are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs


@attrs.frozen
class Outcome:
    """One figure of one server: the combined value of each line, all readings, or why there is none."""

    figure: str
    server: str
    values: Mapping[str, float]
    readings: Sequence[Mapping[str, float]]
    details: Sequence[Mapping[str, float]]
    #: For each reading, the part of the cores that processes outside this run took; None where not known.
    disturbance: Sequence[float | None]
    error: str | None = None


@attrs.frozen
class EngineResults:
    """All outcomes on one database engine; `absent` says why a server was not measured."""

    engine: str
    database: str
    versions: Mapping[str, str]
    absent: Mapping[str, str]
    outcomes: Sequence[Outcome]

    def outcome(self, figure: str, server: str) -> Outcome | None:
        """The outcome of a figure of a server, if it was tried."""
        for outcome in self.outcomes:
            if (outcome.figure, outcome.server) == (figure, server):
                return outcome
        return None


@attrs.frozen
class Results:
    """A whole run."""

    date: str
    scale: str
    machine: Mapping[str, str]
    file_system: str
    engines: Sequence[EngineResults]
