# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from homeserver.rooms.property_path import parse_path, value_at


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("content.body", ("content", "body")),
        (r"content.m\.relates_to", ("content", "m.relates_to")),
        (r"content.m\\foo", ("content", "m\\foo")),
        (r"a\x.b", ("a\\x", "b")),
        (r"a\\.b", ("a\\", "b")),
        (r"a\\\.b", ("a\\.b",)),
        ("type", ("type",)),
        ("", ("",)),
        ("a..b", ("a", "", "b")),
        ("a.", ("a", "")),
        ("a\\", ("a\\",)),
    ],
)
def test_escapes(text: str, path: tuple[str, ...]) -> None:
    assert parse_path(text) == path


@given(st.lists(st.text(alphabet=".\\ab\n\u00e9"), min_size=1))
def test_escaped_names_come_back(names: list[str]) -> None:
    text = ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in names)

    assert parse_path(text) == tuple(names)


def test_values() -> None:
    event = {"content": {"m.relates_to": {"rel_type": "m.replace"}, "list": [{"a": 1}], "nothing": None}}

    assert value_at(event, ("content", "m.relates_to", "rel_type")) == "m.replace"
    assert value_at(event, ("content", "nothing")) is None
    assert value_at(event, ("content", "nothing", "more")) is UNSET
    assert value_at(event, ("content", "list", "0")) is UNSET
    assert value_at(event, ("content", "absent")) is UNSET
    assert value_at(event, ()) is event
