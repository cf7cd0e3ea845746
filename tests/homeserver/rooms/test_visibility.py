# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from typing import Any

import pytest

from homeserver.rooms.visibility import Standing, Visibility, membership_of, visible

ALICE = "@alice:example.org"
MEMBERSHIPS = ("join", "invite", "knock", "leave", "ban")

# Whether an event is seen, for a user of this membership who has not joined since, and who has.
TABLE = """
                join      invite    knock     leave     ban
world_readable  yes yes   yes yes   yes yes   yes yes   yes yes
shared          yes yes   no  yes   no  yes   no  yes   no  yes
invited         yes yes   yes yes   no  no    no  no    no  no
joined          yes yes   no  no    no  no    no  no    no  no
"""
HEAD, *ROWS = TABLE.split("\n")[1:-1]
EXPECTED = {
    (Visibility(name), membership, joined_since): answers[2 * column + joined_since] == "yes"
    for name, *answers in map(str.split, ROWS)
    for column, membership in enumerate(HEAD.split())
    for joined_since in (False, True)
}


def test_the_table_is_whole() -> None:
    assert EXPECTED.keys() == set(itertools.product(Visibility, MEMBERSHIPS, (False, True)))


@pytest.mark.parametrize(("case", "expected"), list(EXPECTED.items()))
@pytest.mark.parametrize(
    ("event_type", "state_key"),
    [
        ("m.room.message", None),
        ("m.room.topic", ""),
        ("m.room.member", "@bob:example.org"),
        ("m.room.member", None),
        ("m.room.history_visibility", None),
        ("m.room.history_visibility", "other"),
        (ALICE, "m.room.member"),
    ],
)
def test_the_state_before_an_event_decides(
    case: tuple[Visibility, str, bool], expected: bool, event_type: str, state_key: str | None
) -> None:
    visibility, membership, joined_since = case
    open_to_all = Standing(Visibility.WORLD_READABLE, "join")

    for after in (None, Standing(visibility, membership), open_to_all):
        assert expected is visible(
            event_type,
            state_key,
            ALICE,
            before=Standing(visibility, membership),
            after=after,
            joined_since=joined_since,
        )


@pytest.mark.parametrize("joined_since", [False, True])
@pytest.mark.parametrize("membership", MEMBERSHIPS)
@pytest.mark.parametrize(("old", "new"), list(itertools.product(Visibility, Visibility)))
def test_a_change_of_visibility_is_seen_if_either_value_allows_it(
    old: Visibility, new: Visibility, membership: str, joined_since: bool
) -> None:
    expected = EXPECTED[old, membership, joined_since] or EXPECTED[new, membership, joined_since]

    assert expected is visible(
        "m.room.history_visibility",
        "",
        ALICE,
        before=Standing(old, membership),
        after=Standing(new, membership),
        joined_since=joined_since,
    )


@pytest.mark.parametrize("joined_since", [False, True])
@pytest.mark.parametrize("visibility", list(Visibility))
@pytest.mark.parametrize(("old", "new"), list(itertools.product(MEMBERSHIPS, MEMBERSHIPS)))
def test_an_own_membership_is_seen_if_either_value_allows_it(
    old: str, new: str, visibility: Visibility, joined_since: bool
) -> None:
    expected = EXPECTED[visibility, old, joined_since] or EXPECTED[visibility, new, joined_since]

    assert expected is visible(
        "m.room.member",
        ALICE,
        ALICE,
        before=Standing(visibility, old),
        after=Standing(visibility, new),
        joined_since=joined_since,
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [("leave", "join", True), ("join", "leave", True), ("join", "ban", True), ("invite", "leave", False)],
)
def test_own_memberships_where_only_the_joined_may_see(old: str, new: str, expected: bool) -> None:
    before, after = Standing(Visibility.JOINED, old), Standing(Visibility.JOINED, new)

    assert visible("m.room.member", ALICE, ALICE, before=before, after=after, joined_since=False) is expected


@pytest.mark.parametrize(
    ("event_type", "state_key"),
    [("m.room.message", None), ("m.room.member", ALICE), ("m.room.history_visibility", "")],
)
def test_a_state_that_is_not_known_allows_nothing(event_type: str, state_key: str | None) -> None:
    assert not visible(event_type, state_key, ALICE, before=None, after=None, joined_since=True)


def test_a_known_state_after_the_users_own_join_suffices() -> None:
    after = Standing(Visibility.JOINED, "join")

    assert visible("m.room.member", ALICE, ALICE, before=None, after=after, joined_since=False)
    assert not visible("m.room.message", None, ALICE, before=None, after=after, joined_since=False)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"history_visibility": "world_readable"}, Visibility.WORLD_READABLE),
        ({"history_visibility": "invited"}, Visibility.INVITED),
        ({"history_visibility": "joined"}, Visibility.JOINED),
        ({"history_visibility": "shared"}, Visibility.SHARED),
        ({"history_visibility": "World_Readable"}, Visibility.SHARED),
        ({"history_visibility": "of.tomorrow"}, Visibility.SHARED),
        ({"history_visibility": ["joined"]}, Visibility.SHARED),
        ({"history_visibility": None}, Visibility.SHARED),
        ({}, Visibility.SHARED),
        (None, Visibility.SHARED),
    ],
)
def test_visibility_of_content(content: dict[str, Any] | None, expected: Visibility) -> None:
    assert Visibility.of(content) is expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [({"membership": "join"}, "join"), ({"membership": {}}, "leave"), ({}, "leave"), (None, "leave")],
)
def test_membership_of_content(content: dict[str, Any] | None, expected: str) -> None:
    assert membership_of(content) == expected
