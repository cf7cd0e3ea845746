# SPDX-License-Identifier: Apache-2.0
"""What runs inside of a transaction means the same on both engines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.engine.database import Database, Tail, Transaction
from storage.engine.errors import DatabaseError, DataError
from storage.engine.statement import BYTES, INTEGER, TEXT, Batch
from tests.support.reactor import in_reactor

INSERT = Batch(
    "INSERT INTO items (item, data, note, size) SELECT item, data, note, size FROM v WHERE true",
    {"item": INTEGER, "data": BYTES, "note": TEXT, "size": INTEGER},
)
BY_ITEM = Batch(
    "SELECT items.item, items.data, items.note, items.size FROM v JOIN items ON items.item = v.item",
    {"item": INTEGER},
)
ALL = "SELECT item, data, note, size FROM items ORDER BY item"


async def insert(database: Database, rows: list[tuple[Any, ...]]) -> None:
    await database.write("insert", lambda txn: txn.batch(INSERT, rows))


async def everything(database: Database) -> list[tuple[Any, ...]]:
    return await database.read("all", lambda txn: txn.rows(ALL))


VALUES = [
    (1, b"plain", "plain", 1),
    (2, None, None, None),
    (3, b"", "", 0),
    (4, b"a\0b\\c'd\"e,{}%s?", "\\c'd\"e,{}%s?NULL\n", -1),
    (5, bytes(range(256)), "Ünïcödé 🛰", 2**63 - 1),
    (6, b"NULL", "NULL", -(2**63)),
]


async def test_values_come_back_from_a_batch_as_they_were(items: Database) -> None:
    await insert(items, VALUES)
    found = await everything(items)
    assert found == VALUES
    assert all(type(data) in (bytes, type(None)) for _, data, _, _ in found)


async def test_values_come_back_from_single_statements(items: Database) -> None:
    def work(txn: Transaction) -> None:
        for row in VALUES:
            assert txn.execute("INSERT INTO items (item, data, note, size) VALUES (?, ?, ?, ?)", row) == 1

    await items.write("insert", work)
    assert await everything(items) == VALUES


@pytest.mark.parametrize("count", [1, 3, 17, 500, 513, 1_000, 2_501])
async def test_a_batch_of_any_size_is_one_call(items: Database, count: int) -> None:
    rows = [(item, b"x%d" % item, None, item * 2) for item in range(count)]
    await insert(items, rows)
    assert await everything(items) == rows
    wanted = [(item,) for item in range(0, 2 * count, 3)]
    found = await items.read("some", lambda txn: txn.batch(BY_ITEM, wanted))
    assert sorted(found) == [row for row in rows if row[0] % 3 == 0]


async def test_a_batch_with_more_columns_than_a_statement_has_parameters(items: Database) -> None:
    """Chunks get smaller where rows are wide."""
    width = 150
    sums = " + ".join(f"c{column}" for column in range(width))
    wide = Batch(f"SELECT {sums} FROM v", {f"c{column}": INTEGER for column in range(width)})
    rows = [tuple([row] * width) for row in range(700)]
    found = await items.read("wide", lambda txn: txn.batch(wide, rows))
    assert sorted(found) == [(row * width,) for row in range(700)]


async def test_no_rows_run_nothing(items: Database) -> None:
    broken = Batch("SELECT nothing FROM nowhere", {"item": INTEGER})
    assert await items.read("nothing", lambda txn: txn.batch(broken, [])) == []


async def test_update_and_delete_over_rows(items: Database) -> None:
    await insert(items, [(item, b"old", None, item) for item in range(10)])
    update = Batch(
        "UPDATE items SET data = v.data, size = size + v.more FROM v WHERE items.item = v.item",
        {"item": INTEGER, "data": BYTES, "more": INTEGER},
    )
    delete = Batch("DELETE FROM items WHERE item IN (SELECT item FROM v)", {"item": INTEGER})

    def work(txn: Transaction) -> None:
        txn.batch(update, [(2, b"new", 100), (3, None, 200), (99, b"none", 0)])
        txn.batch(delete, [(item,) for item in range(4, 10)])

    await items.write("change", work)
    assert await everything(items) == [
        (0, b"old", None, 0),
        (1, b"old", None, 1),
        (2, b"new", None, 102),
        (3, None, None, 203),
    ]


async def test_a_batch_returns_what_its_statement_returns(items: Database) -> None:
    returning = Batch(
        "INSERT INTO items (item, data) SELECT item, data FROM v WHERE true"
        " ON CONFLICT (item) DO UPDATE SET data = excluded.data RETURNING item, data",
        {"item": INTEGER, "data": BYTES},
    )
    await insert(items, [(1, b"old", None, None)])
    rows = [(item, b"new") for item in range(600)]
    found = await items.write("upsert", lambda txn: txn.batch(returning, rows))
    assert sorted(found) == rows


async def test_a_batch_may_have_tables_of_its_own(items: Database) -> None:
    own = Batch(
        "WITH doubled(number) AS (SELECT v.number * 2 FROM v) SELECT number FROM doubled", {"number": INTEGER}
    )
    recursive = Batch(
        "WITH RECURSIVE up(n, last) AS (SELECT v.low, v.high FROM v UNION ALL SELECT n + 1, last FROM up"
        " WHERE n < last) SELECT n FROM up",
        {"low": INTEGER, "high": INTEGER},
    )

    def work(txn: Transaction) -> tuple[list[Any], list[Any]]:
        return txn.batch(own, [(4,), (5,)]), txn.batch(recursive, [(1, 3), (7, 7)])

    doubled, counted = await items.read("own", work)
    assert sorted(doubled) == [(8,), (10,)]
    assert sorted(counted) == [(1,), (2,), (3,), (7,)]


async def test_a_column_may_have_a_reserved_name(items: Database) -> None:
    reserved = Batch('SELECT v."from", v."select" FROM v', {"from": INTEGER, "select": TEXT})
    assert await items.read("reserved", lambda txn: txn.batch(reserved, [(1, "x")])) == [(1, "x")]


@pytest.mark.parametrize("columns", [{}, {"a b": INTEGER}, {'a"': INTEGER}, {"A": INTEGER}])
def test_column_names_are_plain_words(columns: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="column names"):
        Batch("SELECT 1", columns)


def test_equal_batches_are_one_key() -> None:
    assert Batch("SELECT 1", {"a": INTEGER}) == Batch("SELECT 1", {"a": INTEGER})
    assert hash(Batch("SELECT 1", {"a": INTEGER})) == hash(Batch("SELECT 1", {"a": INTEGER}))
    assert Batch("SELECT 1", {"a": INTEGER}) != Batch("SELECT 1", {"a": BYTES})


async def test_signs_in_literals_are_no_placeholders(items: Database) -> None:
    sql = """SELECT '?%s''?' AS "q?%", 7 % 4, CAST(? AS TEXT) -- ? and %
    /* ? % */"""
    assert await items.read("signs", lambda txn: txn.row(sql, ("x",))) == ("?%s'?", 3, "x")
    assert await items.read("signs", lambda txn: txn.row("SELECT '?%s', 7 % 4")) == ("?%s", 3)
    batch = Batch("SELECT '?%s', v.n % 4 FROM v WHERE '%' <> '?'", {"n": INTEGER})
    assert await items.read("signs", lambda txn: txn.batch(batch, [(7,)])) == [("?%s", 3)]


async def test_row_and_rows(items: Database) -> None:
    await insert(items, VALUES)
    assert await items.read("one", lambda txn: txn.row(ALL)) == VALUES[0]
    assert await items.read("none", lambda txn: txn.row("SELECT 1 FROM items WHERE item = ?", (99,))) is None
    assert await items.read("sum", lambda txn: txn.row("SELECT sum(item), count(*) FROM items")) == (21, 6)
    assert type((await items.read("sum", lambda txn: txn.row("SELECT sum(item) FROM items")))[0]) is int


async def test_execute_counts_the_rows_it_touches(items: Database) -> None:
    await insert(items, VALUES)

    def work(txn: Transaction) -> list[int]:
        return [
            txn.execute("UPDATE items SET note = ? WHERE item > ?", ("x", 4)),
            txn.execute(
                "WITH w(a) AS (SELECT 1) UPDATE items SET note = NULL WHERE item IN (SELECT a FROM w)"
            ),
            txn.execute("DELETE FROM items WHERE item = 99"),
            txn.execute("INSERT INTO items (item) VALUES (1) ON CONFLICT DO NOTHING"),
            txn.execute("SELECT 1"),
            txn.execute("DELETE FROM items"),
        ]

    assert await items.write("touch", work) == [2, 1, 0, 0, 0, 6]


async def test_booleans_are_integers(items: Database) -> None:
    def work(txn: Transaction) -> None:
        txn.batch(INSERT, [(1, None, None, True)])
        txn.execute("UPDATE items SET size = size + ? WHERE size = ?", (True, True))

    await items.write("booleans", work)
    assert await everything(items) == [(1, None, None, 2)]


REFUSED = [
    ("integer too large", (1, None, None, 2**63)),
    ("integer too small", (1, None, None, -(2**63) - 1)),
    ("NUL in text", (1, None, "a\0b", None)),
    ("lone surrogate", (1, None, "a\ud800", None)),
    ("text for bytes", (1, "text", None, None)),
    ("bytes for text", (1, None, b"bytes", None)),
    ("text for integer", (1, None, None, "1")),
    ("float for integer", (1, None, None, 1.0)),
    ("list", (1, None, ["x"], None)),
    ("missing key", (None, b"x", None, None)),
    ("duplicate key", (7, None, None, None)),
]


@pytest.mark.parametrize("row", [row for _, row in REFUSED], ids=[name for name, _ in REFUSED])
async def test_a_refused_value_is_a_data_error_and_nothing_is_written(
    items: Database, row: tuple[Any, ...]
) -> None:
    if row[0] is None and items.dialect == "sqlite":
        row = (7, None, None, None)  # SQLite numbers such a row itself
    await insert(items, [(7, b"first", None, None)])
    with pytest.raises(DataError):
        await insert(items, [(8, b"x", "y", 1), row, (9, b"x", "y", 1)])
    assert await everything(items) == [(7, b"first", None, None)]
    await insert(items, [(8, b"x", None, None)])
    assert len(await everything(items)) == 2


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "a\0b", "\udc00", ["x"], 1.5])
async def test_a_refused_parameter_is_a_data_error(items: Database, value: Any) -> None:
    for use in (items.read, items.write):
        with pytest.raises(DataError):
            await use("refused", lambda txn: txn.rows("SELECT item FROM items WHERE note = ?", (value,)))
    assert await everything(items) == []


async def test_rows_of_a_wrong_width_are_a_mistake(items: Database) -> None:
    with pytest.raises(ValueError, match="each row needs 4 values"):
        await insert(items, [(1, b"x", None)])


async def test_a_mistake_in_sql_is_no_domain_error(items: Database) -> None:
    with pytest.raises(Exception, match="nowhere") as caught:
        await items.read("mistake", lambda txn: txn.rows("SELECT 1 FROM nowhere"))
    assert not isinstance(caught.value, DatabaseError)
    assert await everything(items) == []


async def test_a_read_cannot_write(items: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)read-?only") as caught:
        await items.read("write", lambda txn: txn.execute("INSERT INTO items (item) VALUES (1)"))
    assert not isinstance(caught.value, DatabaseError)
    assert await everything(items) == []


async def test_a_look_gives_the_rows_of_one_statement(items: Database) -> None:
    await insert(items, VALUES)
    sql = "SELECT note FROM items WHERE item BETWEEN ? AND ? ORDER BY item"
    assert await items.look("look", sql, (3, 4)) == [(note,) for _, _, note, _ in VALUES[2:4]]
    assert await items.look("look", sql, (70, 80)) == []
    assert await items.look("look", "SELECT count(*) FROM items") == [(len(VALUES),)]
    with pytest.raises(DataError):
        await items.look("look", sql, (2**63, 1))
    with pytest.raises(Exception, match=r"read-?only"):
        await items.look("look", "DELETE FROM items WHERE item = ?", (1,))
    assert await everything(items) == VALUES


async def test_an_exception_rolls_back(items: Database) -> None:
    def work(txn: Transaction) -> None:
        txn.batch(INSERT, VALUES)
        raise KeyError("changed its mind")

    with pytest.raises(KeyError, match="changed its mind"):
        await items.write("change of mind", work)
    assert await everything(items) == []


@pytest.mark.parametrize("kind", ["read", "write", "commit"])
async def test_an_error_that_is_swallowed_still_fails(items: Database, kind: str) -> None:
    def work(txn: Transaction) -> str:
        if kind != "read":
            txn.batch(INSERT, VALUES)
        try:
            txn.row("SELECT item FROM items WHERE note = ?", ("\udc00",))
        except DataError:
            return "all is well"
        return "not reached"

    request = {
        "read": lambda: items.read("swallow", work),
        "write": lambda: items.write("swallow", work),
        "commit": lambda: items.commit("swallow", lambda txn: work(txn) and None, Tail()),
    }[kind]
    with pytest.raises(DataError):
        await request()
    assert await everything(items) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.none() | st.binary(max_size=40),
            st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20),
            st.none() | st.integers(-(2**63), 2**63 - 1),
        ),
        max_size=20,
    )
)
def test_any_values_survive(items: Database, rows: list[tuple[Any, ...]]) -> None:
    numbered = [(item, *row) for item, row in enumerate(rows)]

    def work(txn: Transaction) -> list[tuple[Any, ...]]:
        txn.execute("DELETE FROM items")
        txn.batch(INSERT, numbered)
        return txn.rows(ALL)

    assert in_reactor(items.write("any", work)) == numbered
