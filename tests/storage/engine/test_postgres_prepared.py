# SPDX-License-Identifier: Apache-2.0
"""Statements that PostgreSQL prepares: once for a connection, after errors too, whatever their number."""

from __future__ import annotations

from typing import Any

import pytest

from storage.engine.database import Database, Tail, Transaction
from storage.engine.errors import DataError
from storage.engine.postgres_prepared import PreparedStatements
from storage.engine.postgres_sql import Template
from storage.engine.statement import BYTES, INTEGER, Batch

INSERT = Batch(
    "INSERT INTO items (item, data) SELECT item, data FROM v", columns={"item": INTEGER, "data": BYTES}
)
SIZES = Batch("SELECT i.item, i.size FROM v JOIN items i ON i.item = v.item", columns={"item": INTEGER})
PREPARED = "SELECT name, statement FROM pg_prepared_statements WHERE name NOT LIKE '%pg_prepared%'"


@pytest.fixture(params=["postgresql"])
def engine(request: pytest.FixtureRequest) -> Any:
    """PostgreSQL alone."""
    return request.param


def template(number: int) -> Template:
    return Template(f"SELECT {number}, $1", ("bigint",), title=f"SELECT {number}, ?", silent=False)


async def test_a_statement_is_prepared_once(items: Database) -> None:
    def head(txn: Transaction) -> None:
        for item in range(3):
            txn.batch(INSERT, [(item, b"x")])
            assert txn.batch(SIZES, [(item,)]) == [(item, None)]
        found.extend(txn.rows(PREPARED))

    found: list[Any] = []
    await items.commit("c", head, Tail())
    titles = sorted(name.rstrip("0123456789") for name, _ in found)
    assert titles == [
        "INSERT INTO items (item, data) SELECT item, data ",
        "SELECT i.item, i.size FROM v JOIN items i ON i.i ",
    ]


async def test_what_gives_no_rows_is_seen_by_what_follows(items: Database) -> None:
    def work(txn: Transaction) -> list[Any]:
        assert txn.batch(INSERT, [(1, b"a"), (2, b"b")]) == []
        return txn.rows("SELECT item FROM items ORDER BY item")

    assert await items.write("w", work) == [(1,), (2,)]


async def test_the_error_of_what_gives_no_rows_is_not_lost(items: Database) -> None:
    def add_again(txn: Transaction) -> None:
        txn.batch(INSERT, [(1, b"a")])

    await items.write("w", lambda txn: txn.batch(INSERT, [(1, b"a")]))
    with pytest.raises(DataError, match="duplicate"):
        await items.write("w", lambda txn: txn.batch(INSERT, [(2, b"b"), (1, b"a")]))
    with pytest.raises(DataError, match="duplicate"):
        await items.commit("c", add_again, Tail())
    with pytest.raises(Exception, match="read-only"):
        await items.read("r", lambda txn: txn.batch(INSERT, [(3, b"c")]))
    assert await items.read("r", lambda txn: txn.rows("SELECT item FROM items")) == [(1,)]


async def test_statements_work_again_after_an_error(items: Database) -> None:
    """What was prepared in the transaction that failed is still there."""

    def fails(txn: Transaction) -> None:
        txn.batch(INSERT, [(1, b"a"), (1, b"a")])
        txn.batch(SIZES, [(1,)])

    def works(txn: Transaction) -> None:
        txn.batch(INSERT, [(2, b"b")])
        assert txn.batch(SIZES, [(1,), (2,)]) == [(2, None)]

    for _ in range(2):
        with pytest.raises(DataError):
            await items.commit("fails", fails, Tail())
    await items.commit("works", works, Tail())
    assert await items.read("r", lambda txn: txn.rows("SELECT item FROM items")) == [(2,)]


async def test_a_statement_that_cannot_be_prepared_leaves_none_behind(items: Database) -> None:
    for _ in range(2):
        with pytest.raises(Exception, match="no_such_table"):
            await items.read("r", lambda txn: txn.row("SELECT * FROM no_such_table WHERE item = ?", (1,)))
    assert await items.read("r", lambda txn: txn.row("SELECT ?", (7,))) == (7,)


async def test_those_used_last_stay_prepared(items: Database) -> None:
    def work(txn: Transaction) -> None:
        for number in range(450):
            assert txn.row(f"SELECT item + {number} FROM items WHERE item = ?", (1,)) == (1 + number,)
            assert txn.batch(SIZES, [(1,)]) == [(1, None)]
        names.extend(name for name, _ in txn.rows(PREPARED))

    names: list[str] = []
    await items.write("w", lambda txn: txn.batch(INSERT, [(1, b"a")]))
    await items.write("many", work)
    assert len(names) == 400
    assert len([name for name in names if name.startswith("SELECT i.item, i.size")]) == 1


async def test_a_plan_made_for_an_empty_table_uses_its_index(items: Database) -> None:
    def plan(txn: Transaction) -> str:
        txn.batch(SIZES, [(1,)])
        (name,) = [name for name, _ in txn.rows(PREPARED) if name.startswith("SELECT i.item")]
        return "\n".join(line for (line,) in txn.rows(f"EXPLAIN EXECUTE \"{name}\"('{{1}}')"))

    found = await items.read("plan", plan)
    assert "Index Scan using items_pkey" in found
    assert "Index Cond: (item = " in found


def test_names_tell_what_runs_and_cannot_end_early() -> None:
    prepared = PreparedStatements(lambda _: None)
    odd = Template("SELECT 1", (), title='SELECT "é" FROM ' + "x" * 90, silent=False)
    (text,) = prepared.call(odd, "")
    name = text.removeprefix("EXECUTE ").removesuffix("()")
    assert name.startswith("\"SELECT '?' FROM xxx")
    assert name.count('"') == 2
    assert len(name) - 2 < 64


def test_the_least_recently_used_goes_after_what_still_needs_it() -> None:
    sent: list[str] = []
    prepared = PreparedStatements(sent.append)
    first = [prepared.call(template(number), "1") for number in range(400)]
    assert prepared.call(template(0), "1") == first[0]
    assert len(sent) == 400
    deallocate, execute = prepared.call(template(400), "1")
    assert sent[400].endswith(" AS SELECT 400, $1")
    assert execute.removeprefix("EXECUTE ").removesuffix("(1)") in sent[400]
    assert deallocate == first[1][0].replace("EXECUTE", "DEALLOCATE").removesuffix("(1)")
    prepared.call(template(1), "1")
    assert sent[401].endswith(" AS SELECT 1, $1")
