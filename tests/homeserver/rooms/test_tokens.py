# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import InvalidParam
from homeserver.rooms.tokens import SyncToken, TimelineStart, parse_paging_token, place_token
from storage.events import BEGINNING, END, Place

BOUND = 2**62
numbers = st.integers(-BOUND, BOUND)


@given(position=st.integers(0, 10**18 - 1), typing=st.integers(0, 10**15 - 1))
def test_a_sync_token_says_where_it_stands(position: int, typing: int) -> None:
    token = SyncToken(position, typing)
    assert SyncToken.parse(str(token)) == token
    assert parse_paging_token(str(token), "from") == token


@given(topo=numbers, position=numbers)
def test_a_place_is_read_as_it_was_written(topo: int, position: int) -> None:
    place = Place(topo, position)
    parsed = parse_paging_token(place_token(place), "from")
    assert parsed == place
    assert isinstance(parsed, Place)


@given(topo=numbers, position=numbers)
def test_the_start_of_a_timeline_is_no_mere_place(topo: int, position: int) -> None:
    start = TimelineStart(Place(topo, position))
    assert parse_paging_token(str(start), "from") == start
    assert parse_paging_token(str(start), "from") != start.place


@pytest.mark.parametrize("place", [BEGINNING, END])
def test_the_ends_of_a_room_are_places(place: Place) -> None:
    assert parse_paging_token(place_token(place), "from") == place


NO_TOKENS = [
    "",
    "t1",
    "t1_1",
    "t1_-1_1",
    "t1_1_1 ",
    "t1_1_1\n",
    "t2_1_1",
    "t1_1234567890123456789_1",
    "t1_\u0661_1",
    "p1_1_1_1",
    "s1_1",
    f"s1_0_{BOUND + 1}",
    "p1__1",
    "p1_1_--1",
    f"p1_{BOUND + 1}_0",
    f"p1_0_{-BOUND - 1}",
    "p1_99999999999999999999_0",
    "x" * 10_000,
]


@pytest.mark.parametrize("text", NO_TOKENS)
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(InvalidParam) as raised:
        parse_paging_token(text, "to")
    assert raised.value.message.startswith("to: ")
    assert len(raised.value.message) < 200


@given(st.text(max_size=30))
def test_any_text_is_a_token_or_refused(text: str) -> None:
    try:
        parse_paging_token(text, "from")
    except InvalidParam:
        pass
    else:
        assert text[:3] in ("t1_", "p1_", "s1_")


def test_a_place_is_no_token_of_a_sync() -> None:
    for text in (place_token(Place(1, 1)), str(TimelineStart(Place(1, 1)))):
        with pytest.raises(InvalidParam):
            SyncToken.parse(text)
