# SPDX-License-Identifier: Apache-2.0
"""Who of a room is called by name in a text, without trying every member's name.

The default rules do not look for names any more; rules that users brought from older servers, or wrote
themselves, may.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from homeserver.push.rules.glob import SEARCH_LIMIT, contains_words, fold

_WORD = re.compile(r"[a-z0-9_]+")


class DisplayNameIndex:
    """The display names of a room's members, by something that a text must contain to contain the name.

    Where a name has words of `[A-Za-z0-9_]`, these stand as whole words in every text that contains the
    name between word boundaries: the name is filed under that one of them which the fewest others are filed
    under. Any other name is filed under its first two characters.
    """

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, str]] = {}
        self._by_word: dict[str, dict[str, set[str]]] = {}
        self._by_start: dict[str, dict[str, set[str]]] = {}

    def add(self, user_id: str, display_name: str | None) -> None:
        """Set the display name of a user; None and the empty name are no name."""
        self.remove(user_id)
        if not display_name:
            return
        folded = fold(display_name)
        words = _WORD.findall(folded)
        files = self._by_word if words else self._by_start
        key = min(words, key=lambda word: len(files.get(word, ()))) if words else folded[:2]
        files.setdefault(key, {}).setdefault(folded, set()).add(user_id)
        self._names[user_id] = display_name, key

    def remove(self, user_id: str) -> None:
        """Forget a user, if known."""
        known = self._names.pop(user_id, None)
        if known is None:
            return
        folded, key = fold(known[0]), known[1]
        files = self._by_word if _WORD.search(folded) else self._by_start
        file = files[key]
        file[folded].discard(user_id)
        if not file[folded]:
            del file[folded]
        if not file:
            del files[key]

    def display_name(self, user_id: str) -> str | None:
        """The display name of a user, as it was added."""
        known = self._names.get(user_id)
        return known[0] if known is not None else None

    def matching(self, folded_body: str) -> Iterable[str]:
        """The users whose display name stands in the body between word boundaries; the body is folded."""
        for files, keys in ((self._by_word, _words(folded_body)), (self._by_start, _starts(folded_body))):
            if not files:
                continue
            for key in keys & files.keys():
                for name, users in files[key].items():
                    if contains_words(folded_body, name):
                        yield from users


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text))


def _starts(text: str) -> set[str]:
    return set(_starts_in(text[: SEARCH_LIMIT + 1]))


def _starts_in(text: str) -> Iterator[str]:
    yield from text
    yield from map("".join, pairwise(text))
