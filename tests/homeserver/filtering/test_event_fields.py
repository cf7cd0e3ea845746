# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from homeserver.filtering.event_fields import MAX_DEPTH, EventFields

EVENT = {
    "type": "m.room.message",
    "sender": "@alice:example.org",
    "content": {
        "body": "hello",
        "msgtype": "m.text",
        "m.relates_to": {"rel_type": "m.thread", "event_id": "$root"},
        "list": [{"a": 1}],
        "nothing": None,
    },
    "unsigned": {"age": 5},
}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["type", "sender"], {"type": "m.room.message", "sender": "@alice:example.org"}),
        (["content.body"], {"content": {"body": "hello"}}),
        (["content.body", "content.msgtype"], {"content": {"body": "hello", "msgtype": "m.text"}}),
        (["content.body", "content"], {"content": EVENT["content"]}),
        (["content", "content.body"], {"content": EVENT["content"]}),
        ([r"content.m\.relates_to.rel_type"], {"content": {"m.relates_to": {"rel_type": "m.thread"}}}),
        (["content.m.relates_to"], {}),
        (["content.nothing"], {"content": {"nothing": None}}),
        (["content.list.a", "type.x", "content.body.x"], {}),
        (["absent", "content.absent", ""], {}),
        (["unsigned.age"], {"unsigned": {"age": 5}}),
    ],
)
def test_fields(paths: list[str], expected: dict[str, Any]) -> None:
    assert EventFields.compile(paths).of(EVENT) == expected


def test_paths_are_followed_to_a_bounded_depth() -> None:
    deep: Any = {"leaf": 1, "other": 2}
    for _ in range(MAX_DEPTH):
        deep = {"a": deep}
    path = ".".join(["a"] * MAX_DEPTH)

    assert EventFields.compile([f"{path}.leaf"]).of(deep) == deep
    assert EventFields.compile(["a." * 30_000]).of(deep) == deep
