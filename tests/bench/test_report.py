# SPDX-License-Identifier: Apache-2.0
"""The report says what was measured. Run by name: `pytest tests/bench/test_report.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.figures.figure import Line
from tests.bench.options import read_options
from tests.bench.report import BEGIN, END, markdown, number, plain, write_section
from tests.bench.results import EngineResults, Outcome, Results


def outcome(figure: str, server: str, error: str | None = None, **values: float) -> Outcome:
    named = {key.replace("_", "-"): value for key, value in values.items()}
    return Outcome(figure, server, named, [named], [{}], [0.25], error)


RESULTS = Results(
    date="2020-01-02 03:04 UTC",
    scale="full",
    machine={"cores": "2"},
    file_system="ext4",
    engines=[
        EngineResults(
            engine="sqlite",
            database="SQLite",
            versions={"trellis": "Trellis 1", "synapse": "Synapse 2"},
            absent={"bare": "not there\nat all"},
            outcomes=[
                outcome("sends", "trellis", sends=2600.0),
                outcome("sends", "synapse", sends=100.0),
                outcome("sends", "bare", sends=5200.0),
                outcome("send-latency", "trellis", send_latency=2.0),
                outcome("send-latency", "synapse", send_latency=12.0),
                outcome("joins", "trellis", error="RefusedError: 500"),
            ],
        )
    ],
)


def row(title: str) -> list[str]:
    (line,) = (line for line in markdown(RESULTS).splitlines() if line.startswith(f"| {title}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_more_is_better_for_a_rate() -> None:
    assert row("sends, 50 users in 50 rooms")[1:] == [
        "2,600 /s",
        "100 /s",
        "5,200 /s",
        "26 times better",
        "50 %",
        "25 times better",
        "yes",
    ]


def test_less_is_better_for_a_time() -> None:
    assert row("one user")[4:] == ["6 times better", "", "1 ms or 12 times better", "**no**"]


@pytest.mark.parametrize(
    ("ours", "ratio", "reached"),
    [(0.9, 2.0, True), (1.0, None, True), (1.1, 12.5, True), (1.1, 11.0, False), (1.1, None, None)],
)
def test_an_aim_is_reached_by_value_or_by_ratio(
    ours: float, ratio: float | None, reached: bool | None
) -> None:
    assert Line("a", "b", "ms", "less", 1.0, 12).reached(ours, ratio) is reached


def test_a_line_without_an_aim_says_nothing() -> None:
    assert Line("a", "b", "/s", "more").reached(5.0, 100.0) is None
    assert Line("a", "b", "/s", "more", 4.0).reached(5.0, None) is True


def test_a_failure_is_no_value() -> None:
    assert row("local joins")[1:5] == ["failed", "", "", ""]
    text = markdown(RESULTS)
    assert "`joins` failed on trellis: RefusedError: 500" in text
    assert "bare was not measured: not there\n" in text


def test_what_was_not_tried_has_no_row() -> None:
    assert "/messages" not in markdown(RESULTS)


def test_the_section_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    write_section(page, RESULTS)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "2,600 /s" in text
    write_section(page, RESULTS)
    assert page.read_text() == text


def test_the_plain_table_has_the_same_cells() -> None:
    assert "26 times better" in plain(RESULTS)
    assert "|" not in plain(RESULTS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01234, "0.0123"),
        (1.5, "1.5"),
        (118.2, "118"),
        (999.4, "999"),
        (1234.5, "1,230"),
        (999_950, "1,000,000"),
    ],
)
def test_numbers_have_three_figures(value: float, text: str) -> None:
    assert number(value) == text


def test_options_choose_figures_and_servers() -> None:
    options = read_options(
        ["--figures", "joins,sends", "--against", "bare", "--engine", "both", "--repeats", "7"]
    )
    assert [figure.name for figure in options.figures] == ["sends", "joins"]
    assert (options.servers, options.engines) == (["trellis", "bare"], ["sqlite", "postgresql"])
    assert options.scale.repeats == 7


@pytest.mark.parametrize("wrong", [["--figures", "nothing"], ["--against", "nobody"]])
def test_unknown_names_end_the_program(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_options(wrong)
    assert wrong[1] in capsys.readouterr().err


GRAPH = [
    "graph-split",
    "graph-split-at-once",
    "graph-backfill",
    "graph-churn",
    "graph-tangle",
    "graph-join",
    "graph-old-state",
    "graph-memory",
]


def test_a_group_of_figures_has_a_name() -> None:
    assert [figure.name for figure in read_options(["--figures", "graph"]).figures] == GRAPH


def test_heavy_figures_come_when_asked_for() -> None:
    ordinary = {figure.name for figure in read_options([]).figures}
    heavy = {figure.name for figure in read_options(["--heavy"]).figures} - ordinary
    assert heavy == {"mixed-hard", "large-room", "many-rooms", "idle-polls", "reconnect", *GRAPH}
    assert [figure.name for figure in read_options(["--figures", "large-room"]).figures] == ["large-room"]
