# SPDX-License-Identifier: Apache-2.0
"""The command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import attrs

from tests.bench.figures.catalogue import FIGURES, chosen_figures
from tests.bench.figures.figure import Figure
from tests.bench.scale import FULL, QUICK, Scale

SERVERS = ("trellis", "synapse", "bare")


@attrs.frozen
class Options:
    """What to measure and where to write it."""

    servers: Sequence[str]
    engines: Sequence[str]
    figures: Sequence[type[Figure]]
    scale: Scale
    commit: str | None
    synapse_version: str
    directory: Path | None
    report: Path | None
    json: Path | None
    nice: int


def read_options(arguments: Sequence[str] | None = None) -> Options:
    """The options of `arguments` (default: of this process). Ends the process for wrong ones."""
    parser = _parser()
    given = parser.parse_args(arguments)
    against = [name for name in given.against.split(",") if name]
    unknown = [name for name in against if name not in SERVERS]
    if unknown:
        parser.error(f"--against: no server is called {', '.join(unknown)}")
    try:
        figures = chosen_figures(given.figures.split(",") if given.figures else None, heavy=given.heavy)
    except ValueError as error:
        parser.error(f"--figures: {error}")
    scale = QUICK if given.quick else FULL
    if given.repeats is not None:
        scale = attrs.evolve(scale, repeats=given.repeats)
    return Options(
        servers=[
            name for name in SERVERS if name in against or (name == "trellis" and not given.without_trellis)
        ],
        engines=["sqlite", "postgresql"] if given.engine == "both" else [given.engine],
        figures=figures,
        scale=scale,
        commit=given.commit,
        synapse_version=given.synapse_version,
        directory=given.directory,
        report=given.report,
        json=given.json,
        nice=given.nice,
    )


def _parser() -> argparse.ArgumentParser:
    names = ", ".join(figure.name + ("*" if figure.heavy else "") for figure in FIGURES)
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measures Trellis beside Synapse and a bare twisted.web server, each on one core.",
        epilog=f"Figures (* heavy; scaling- by name or group, on PostgreSQL): {names}",
    )
    add = parser.add_argument
    add(
        "--against",
        default="synapse,bare",
        metavar="NAMES",
        help="which other servers (default: synapse,bare)",
    )
    add("--without-trellis", action="store_true", help="measure only the others")
    add("--engine", choices=("sqlite", "postgresql", "both"), default="sqlite")
    add("--figures", metavar="NAMES", help="only these, comma separated")
    add("--heavy", action="store_true", help="the heavy figures too, which take an hour to prepare")
    add("--quick", action="store_true", help="small counts and short windows: a look, no result")
    add("--repeats", type=int, metavar="N", help="measurements of each figure (default: 3, quick 2)")
    add("--commit", metavar="REV", help="measure this commit of Trellis (default: the work tree as it is)")
    add("--synapse-version", default="1.163.2", metavar="VERSION")
    add(
        "--directory",
        type=Path,
        metavar="DIR",
        help="where the servers keep their data (default: a temporary one)",
    )
    add("--nice", type=int, default=0, metavar="N", help="run everything at this niceness (below 0: as root)")
    add("--report", type=Path, metavar="FILE", help="write the section of this Markdown page")
    add("--json", type=Path, metavar="FILE", help="write everything that was read")
    return parser
