# SPDX-License-Identifier: Apache-2.0
"""Tags of rooms over HTTP, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from storage.engine.database import Database
from tests.support.app_server import AppServer, app_server
from tests.support.room_server import ok, refused

ALICE = "@alice:a.example"


@pytest.fixture
def server(database: Database) -> Iterator[AppServer]:
    with app_server(database) as running:
        yield running


@pytest.fixture
def tags(server: AppServer) -> str:
    """The path of Alice's tags of a room."""
    return f"/user/{ALICE}/rooms/{server.alice.create_room()}/tags"


def test_put_change_and_delete(server: AppServer, tags: str) -> None:
    alice = server.alice
    assert ok(alice.get(tags)) == {"tags": {}}
    ok(alice.put(f"{tags}/m.favourite", {"order": 0.5, "more": {"a": 1}}))
    ok(alice.put(f"{tags}/{quote('u.Wörk/1', safe='')}", {}))
    assert ok(alice.get(tags)) == {"tags": {"m.favourite": {"order": 0.5, "more": {"a": 1}}, "u.Wörk/1": {}}}
    ok(alice.put(f"{tags}/m.favourite", {"order": 0}))
    ok(alice.delete(f"{tags}/{quote('u.Wörk/1', safe='')}"))
    assert ok(alice.delete(f"{tags}/u.unknown")) == {}
    assert ok(alice.get(tags)) == {"tags": {"m.favourite": {"order": 0}}}
    account_data = tags.replace("/tags", "/account_data/m.tag")
    assert ok(alice.get(account_data)) == {"tags": {"m.favourite": {"order": 0}}}


@pytest.mark.parametrize("order", [0, 1, 0.25, 1.0])
def test_orders(server: AppServer, tags: str, order: Any) -> None:
    ok(server.alice.put(f"{tags}/u.a", {"order": order}))


BAD_ORDERS = [
    ("0.5", "M_BAD_JSON"),
    (True, "M_BAD_JSON"),
    (-0.01, "M_INVALID_PARAM"),
    (1.5, "M_INVALID_PARAM"),
]


@pytest.mark.parametrize(("order", "errcode"), BAD_ORDERS)
def test_bad_orders(server: AppServer, tags: str, order: Any, errcode: str) -> None:
    assert refused(server.alice.put(f"{tags}/u.a", {"order": order})) == (400, errcode)
    assert ok(server.alice.get(tags)) == {"tags": {}}


def test_bounds(server: AppServer, tags: str) -> None:
    assert refused(server.alice.put(f"{tags}/{'x' * 256}", {})) == (400, "M_INVALID_PARAM")
    ok(server.alice.put(f"{tags}/{'x' * 255}", {}))
    assert refused(server.alice.put(f"{tags}/u.a", {"more": "x" * 70_000})) == (413, "M_TOO_LARGE")


def test_a_tag_is_kept_as_it_came(server: AppServer, tags: str) -> None:
    text = b'{"n": 1' + b"0" * 400 + b"}"
    ok(server.alice.put(f"{tags}/u.a", body=text))
    assert server.alice.get(tags).content == b'{"tags":{"u.a":' + text + b"}}"


def test_only_ones_own(server: AppServer, tags: str) -> None:
    for answer in (
        server.bob.get(tags),
        server.bob.put(f"{tags}/u.a", {}),
        server.bob.delete(f"{tags}/u.a"),
    ):
        assert refused(answer) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize("content", [{}, {"tags": []}, {"tags": None}, {"other": 1}])
def test_account_data_of_any_shape(server: AppServer, tags: str, content: Any) -> None:
    ok(server.alice.put(tags.replace("/tags", "/account_data/m.tag"), content))
    assert ok(server.alice.get(tags)) == {"tags": {}}
    ok(server.alice.put(f"{tags}/u.a", {}))
    assert ok(server.alice.get(tags)) == {"tags": {"u.a": {}}}
