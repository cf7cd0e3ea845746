# SPDX-License-Identifier: Apache-2.0
"""The results as a table for people and as a section of a Markdown page."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figures.catalogue import FIGURES
from tests.bench.figures.figure import Figure, Line
from tests.bench.figures.throughput import OWN_SHARE, PROCESSOR_TIME
from tests.bench.results import EngineResults, Outcome, Results

BEGIN = "<!-- benchmark: begin -->"
END = "<!-- benchmark: end -->"

SERVERS = ("trellis", "synapse", "bare")

_COLUMNS = (
    "figure",
    "Trellis",
    "Synapse",
    "bare limit",
    "Trellis : Synapse",
    "of the limit",
    "meant to be",
    "so it is",
)


def markdown(results: Results) -> str:
    """The section, without its markers."""
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    parts = [
        f"Measured on {results.date}: {machine}; files on {results.file_system}; scale `{results.scale}`."
    ]
    if results.scale != "full":
        parts += ["", "This scale is smaller than the names of the figures say: a look, no result."]
    for engine in results.engines:
        parts += ["", f"### {engine.database}", "", *_engine(engine)]
    return "\n".join(parts)


def write_section(page: Path, results: Results) -> None:
    """Put the section between the markers of `page`, or at its end where there are none."""
    section = f"{BEGIN}\n\n{markdown(results)}\n\n{END}"
    text = page.read_text() if page.exists() else ""
    if BEGIN in text and END in text:
        before, _, rest = text.partition(BEGIN)
        text = before + section + rest.partition(END)[2]
    else:
        text = f"{text.rstrip()}\n\n{section}\n".lstrip()
    page.write_text(text)


def _engine(engine: EngineResults) -> list[str]:
    text = [f"- {version}" for version in engine.versions.values()]
    text += [f"- {name} was not measured: {why.splitlines()[0]}" for name, why in engine.absent.items()]
    text += ["", "| " + " | ".join(_COLUMNS) + " |", "|" + " --- |" * len(_COLUMNS)]
    for figure in FIGURES:
        text += [_row(engine, figure, line) for line in figure.lines if _tried(engine, figure)]
    return [*text, "", *_notes(engine), *_processor_times(engine)]


def _processor_times(engine: EngineResults) -> list[str]:
    """Processor time per request: it hardly changes when others use the machine too."""
    rows = []
    for figure in FIGURES:
        times = {name: _processor_time(engine.outcome(figure.name, name)) for name in SERVERS}
        if any(times.values()):
            rows.append(
                f"{figure.lines[0].title}: " + ", ".join(f"{k} {v:.3g}" for k, v in times.items() if v)
            )
    head = ["", "Processor time of the server per request, ms (median):", ""]
    return [*head, *(f"- {row}" for row in rows)] if rows else []


def _processor_time(outcome: Outcome | None) -> float | None:
    times = (
        [detail[PROCESSOR_TIME] for detail in outcome.details if PROCESSOR_TIME in detail] if outcome else []
    )
    return statistics.median(times) if times else None


def _tried(engine: EngineResults, figure: type[Figure]) -> bool:
    return any(outcome.figure == figure.name for outcome in engine.outcomes)


def _row(engine: EngineResults, figure: type[Figure], line: Line) -> str:
    outcomes = {name: engine.outcome(figure.name, name) for name in SERVERS}
    values = {name: outcome.values.get(line.key) for name, outcome in outcomes.items() if outcome is not None}
    ours, theirs, limit = values.get("trellis"), values.get("synapse"), values.get("bare")
    ratio = line.times_better(ours, theirs) if ours is not None and theirs is not None else None
    share = line.times_better(ours, limit) if ours is not None and limit is not None else None
    cells = [line.title, *(_value(outcomes[name], line) for name in outcomes)]
    cells.append(
        "" if ratio is None else f"{ratio:.3g} times better" if ratio >= 1 else f"{1 / ratio:.3g} times worse"
    )
    cells.append("" if share is None else f"{100 * share:.0f} %")
    cells.append(_wanted(line))
    reached = line.reached(ours, ratio) if ours is not None else None
    cells.append({None: "", True: "yes", False: "**no**"}[reached])
    return "| " + " | ".join(cells) + " |"


def _wanted(line: Line) -> str:
    aims = [] if line.aim is None else [f"{number(line.aim)} {line.unit}"]
    if line.wanted is not None:
        aims.append(f"{line.wanted:.2g} times better")
    return " or ".join(aims)


def _value(outcome: Outcome | None, line: Line) -> str:
    if outcome is None:
        return ""
    if outcome.error is not None:
        return "failed"
    return f"{number(outcome.values[line.key])} {line.unit}"


def number(value: float) -> str:
    """Three significant figures, without an exponent."""
    if abs(value) >= 1000:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def _notes(engine: EngineResults) -> list[str]:
    notes = []
    others = [share for outcome in engine.outcomes for share in outcome.disturbance if share is not None]
    if others:
        notes.append(
            f"Processes outside the benchmark took {100 * statistics.median(others):.0f} % of the cores in "
            f"the median measurement and {100 * max(others):.0f} % in the worst."
        )
    shares = [
        detail[OWN_SHARE] for outcome in engine.outcomes for detail in outcome.details if OWN_SHARE in detail
    ]
    if shares:
        notes.append(f"The load generator used at most {100 * max(shares):.0f} % of its core.")
    notes += [
        f"`{outcome.figure}` failed on {outcome.server}: {_one_line(outcome.error)}"
        for outcome in engine.outcomes
        if outcome.error is not None
    ]
    return [f"- {note}" for note in notes]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def plain(results: Results) -> str:
    """The tables for a terminal: the Markdown, its columns aligned."""
    lines = markdown(results).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    widths = [max((len(row[index]) for row in rows), default=0) for index in range(len(_COLUMNS))]
    return "\n".join(_aligned(line, widths) for line in lines if not line.startswith("| ---"))


def _aligned(line: str, widths: Sequence[int]) -> str:
    if not line.startswith("| "):
        return "" if line.startswith("|") else line
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
