# SPDX-License-Identifier: Apache-2.0
"""Event types with `*` for any run of characters, many at once. spec: data: event_filter, `types`."""

from __future__ import annotations

from collections.abc import Iterable

import attrs


@attrs.frozen
class TypePatterns:
    """A set of patterns. Case matters, and no character but `*` is special."""

    _exact: frozenset[str]
    _prefixes: tuple[str, ...]
    _pieces: tuple[tuple[str, ...], ...]

    @classmethod
    def compile(cls, patterns: Iterable[str]) -> TypePatterns:
        """The patterns, sorted by what it takes to match them."""
        exact: set[str] = set()
        prefixes: list[str] = []
        pieces: list[tuple[str, ...]] = []
        for pattern in patterns:
            parts = tuple(pattern.split("*"))
            if len(parts) == 1:
                exact.add(pattern)
            elif not any(parts[1:]):
                prefixes.append(parts[0])
            else:
                pieces.append(parts)
        return cls(frozenset(exact), tuple(prefixes), tuple(pieces))

    def match(self, event_type: str) -> bool:
        """Whether one of the patterns matches."""
        if event_type in self._exact or event_type.startswith(self._prefixes):
            return True
        return any(_pieces_match(pieces, event_type) for pieces in self._pieces)


def _pieces_match(pieces: tuple[str, ...], text: str) -> bool:
    first, *middle, last = pieces
    end = len(text) - len(last)
    if not (text.startswith(first) and text.endswith(last)):
        return False
    reached = len(first)
    for piece in middle:
        # The leftmost place leaves the most for what follows, so there is nothing to try again.
        place = text.find(piece, reached)
        if place < 0:
            return False
        reached = place + len(piece)
    return reached <= end
