# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.push.rules.display_names import DisplayNameIndex
from homeserver.push.rules.glob import contains_words, fold

names = st.text(alphabet="aAbB_ -\u00e9\u0434\u0414", max_size=5)
bodies = st.text(alphabet="aAbB_ -\u00e9\u0434\u0414", max_size=12)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from("uvwxyz"), st.none() | names), max_size=12), bodies)
def test_finds_whom_trying_every_name_finds(changes: list[tuple[str, str | None]], body: str) -> None:
    index = DisplayNameIndex()
    current: dict[str, str | None] = {}
    for user_id, name in changes:
        index.add(user_id, name)
        current[user_id] = name
    folded = fold(body)

    expected = {user_id for user_id, name in current.items() if name and contains_words(folded, fold(name))}

    assert set(index.matching(folded)) == expected
    assert {user_id: index.display_name(user_id) for user_id in current} == {
        u: n or None for u, n in current.items()
    }


def test_a_removed_user_is_found_no_more() -> None:
    index = DisplayNameIndex()
    index.add("@alice:example.org", "Alice")
    index.add("@alicia:example.org", "alice")

    index.remove("@alice:example.org")
    index.remove("@unknown:example.org")

    assert list(index.matching("hello alice")) == ["@alicia:example.org"]
    assert index.display_name("@alice:example.org") is None


def test_names_with_a_common_word_are_filed_under_their_own() -> None:
    index = DisplayNameIndex()
    for number in range(1000):
        index.add(f"@user{number}:example.org", f"User {number}")

    assert max(len(file) for file in index._by_word.values()) == 1
    assert list(index.matching("a user, user 17 and User 1000")) == ["@user17:example.org"]
