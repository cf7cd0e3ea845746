# SPDX-License-Identifier: Apache-2.0
"""Stored filters over HTTP, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage.engine.database import Database
from tests.support.app_server import AppServer, app_server
from tests.support.room_server import CLIENT, ok, refused

FILTERS = "/user/@alice:a.example/filter"


@pytest.fixture
def server(database: Database) -> Iterator[AppServer]:
    with app_server(database) as running:
        yield running


def test_a_filter_is_returned_as_it_came(server: AppServer) -> None:
    text = b'{ "room": {"timeline": {"limit": 3}}, "org.example": null }'
    filter_id = ok(server.alice.client.post(CLIENT + FILTERS, body=text))["filter_id"]
    assert not filter_id.startswith("{")
    assert server.alice.get(f"{FILTERS}/{filter_id}").content == text
    again = ok(server.alice.client.post(CLIENT + FILTERS, body=text))["filter_id"]
    assert again == filter_id


def test_a_sync_uses_it(server: AppServer) -> None:
    room_id = server.alice.create_room()
    server.alice.say(room_id, *"abc")
    filter_id = ok(server.alice.post(FILTERS, {"room": {"timeline": {"limit": 2}}}))["filter_id"]
    joined = ok(server.alice.get(f"/sync?filter={filter_id}"))["rooms"]["join"][room_id]
    assert [event["content"]["body"] for event in joined["timeline"]["events"]] == ["b", "c"]


def test_unknown_filters(server: AppServer) -> None:
    for filter_id in ("0", "nonsense", "ff" * 12):
        assert refused(server.alice.get(f"{FILTERS}/{filter_id}")) == (404, "M_NOT_FOUND")


def test_only_ones_own(server: AppServer) -> None:
    filter_id = ok(server.alice.post(FILTERS))["filter_id"]
    assert refused(server.bob.get(f"{FILTERS}/{filter_id}")) == (403, "M_FORBIDDEN")
    assert refused(server.bob.post(FILTERS)) == (403, "M_FORBIDDEN")
    own = f"/user/@bob:a.example/filter/{filter_id}"
    assert refused(server.bob.get(own)) == (404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"room": []}', (400, "M_BAD_JSON")),
        (b'{"event_format": "xml"}', (400, "M_BAD_JSON")),
        (b'{"room": {"timeline": {"limit": -1}}}', (400, "M_BAD_JSON")),
        (b"[]", (400, "M_BAD_JSON")),
        (b"nonsense", (400, "M_NOT_JSON")),
        (b'{"x": "' + b"x" * 70_000 + b'"}', (413, "M_TOO_LARGE")),
    ],
)
def test_bad_filters(server: AppServer, body: bytes, answer: tuple[int, str]) -> None:
    assert refused(server.alice.client.post(CLIENT + FILTERS, body=body)) == answer
