# SPDX-License-Identifier: Apache-2.0
"""Glob patterns of push rules: `*` is any run of characters, `?` any one; matched without regard to case.

No pattern can backtrack: between two `*` the leftmost place is always right, so each piece is looked for
once. Ignoring case means simple case folding, one character for one, in which no character becomes an ASCII
one, so that word boundaries stay where they were.

spec: appendices, "Glob-style matching"; client-server-api, "Push Rules"
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import attrs

SEARCH_LIMIT = 16_384
"""How many characters of a text are searched; what must stand at its start or end is found in any text."""

LONGEST_WORDS = 512
"""The longest literal text, in characters, that `contains_words` looks for."""

_WORD_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_FOLDS_INTO_ASCII = ("\N{KELVIN SIGN}", "\N{LATIN SMALL LETTER LONG S}")


def fold(text: str) -> str:
    """`text` without distinctions of case, as long as it was."""
    if text.isascii():
        return text.lower()
    folded = text.casefold()
    if len(folded) == len(text) and not any(character in text for character in _FOLDS_INTO_ASCII):
        return folded
    return "".join(map(_fold_character, text))


def _fold_character(character: str) -> str:
    for folded in (character.casefold(), character.lower()):
        if len(folded) == 1 and folded.isascii() == character.isascii():
            return folded
    return character


def is_boundary(text: str, index: int) -> bool:
    """Whether a word may begin or end before `text[index]`: not between two characters of `[A-Za-z0-9_]`."""
    return (
        index == 0
        or index == len(text)
        or text[index - 1] not in _WORD_CHARACTERS
        or text[index] not in _WORD_CHARACTERS
    )


def contains_words(text: str, words: str) -> bool:
    """Whether `words` stands in `text` between two word boundaries; both are folded.

    What is empty or longer than `LONGEST_WORDS` never does.
    """
    if not words or len(words) > LONGEST_WORDS:
        return False
    place = text.find(words, 0, SEARCH_LIMIT)
    while place >= 0:
        if is_boundary(text, place) and is_boundary(text, place + len(words)):
            return True
        place = text.find(words, place + 1, SEARCH_LIMIT)
    return False


class _Piece:
    """What stands between two `*`. A piece always matches as many characters as it has itself."""

    __slots__ = ("_regex", "length", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.length = len(text)
        self._regex = re.compile(re.escape(text).replace(r"\?", "."), re.DOTALL) if "?" in text else None

    @property
    def cost(self) -> int:
        # A piece with `?` is compared by the regular expression engine, which is slower.
        return self.length * (1 if self._regex is None else 16)

    def stands_at(self, text: str, index: int) -> bool:
        if self._regex is None:
            return text.startswith(self.text, index)
        return self._regex.match(text, index) is not None

    def find(self, text: str, start: int) -> int:
        """The first place from `start` on, or -1."""
        if self._regex is None:
            return text.find(self.text, start, SEARCH_LIMIT)
        found = self._regex.search(text, start, SEARCH_LIMIT)
        return found.start() if found else -1

    def places(self, text: str, start: int) -> Iterator[int]:
        """All places from `start` on."""
        place = self.find(text, start)
        while place >= 0:
            yield place
            place = self.find(text, place + 1)


@attrs.frozen
class Glob:
    """A compiled pattern. Both kinds of match take a text that `fold` has been applied to."""

    pattern: str
    _pieces: tuple[_Piece, ...] = attrs.field(repr=False, eq=False)

    def matches(self, text: str) -> bool:
        """Whether the pattern is the whole of `text`."""
        first = self._pieces[0]
        if len(self._pieces) == 1:
            return len(text) == first.length and first.stands_at(text, 0)
        last = self._pieces[-1]
        end = len(text) - last.length
        if end < first.length or not first.stands_at(text, 0):
            return False
        reached = self._skip_middle(text, first.length)
        return 0 <= reached <= end and last.stands_at(text, end)

    def matches_words(self, text: str) -> bool:
        """Whether the pattern is some part of `text` that begins and ends at a word boundary.

        The empty pattern matches the empty text alone.
        """
        if not self.pattern:
            return not text
        first = self._pieces[0]
        if len(self._pieces) == 1:
            length = first.length
            return any(
                is_boundary(text, place) and is_boundary(text, place + length)
                for place in first.places(text, 0)
            )
        start = next((place for place in first.places(text, 0) if is_boundary(text, place)), -1)
        reached = self._skip_middle(text, start + first.length) if start >= 0 else -1
        last = self._pieces[-1]
        if reached < 0 or not last.length:
            return reached >= 0
        return any(is_boundary(text, place + last.length) for place in last.places(text, reached))

    @property
    def value_cost(self) -> int:
        """How many comparisons a character of a searched value may take at worst."""
        return sum(piece.cost for piece in self._pieces[1:-1])

    @property
    def words_cost(self) -> int:
        """How many comparisons a character of a searched body may take at worst."""
        return sum(piece.cost for piece in self._pieces)

    def _skip_middle(self, text: str, reached: int) -> int:
        """Where the pieces between the first and the last end at the earliest, or -1."""
        for piece in self._pieces[1:-1]:
            place = piece.find(text, reached)
            if place < 0:
                return -1
            reached = place + piece.length
        return reached


@lru_cache(maxsize=4096)
def compile_glob(pattern: str) -> Glob:
    """The compiled form of `pattern`."""
    collapsed = re.sub(r"\*+", "*", fold(pattern))
    return Glob(collapsed, tuple(_Piece(piece) for piece in collapsed.split("*")))
