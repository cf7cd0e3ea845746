# SPDX-License-Identifier: Apache-2.0
"""Contents that follow upon one another become branches: timelines, each over a state of another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from federation.graph.timelines import MOST_LEVELS
from homeserver.importing.contents import Changes
from storage.event import StateAt


@attrs.frozen
class Step:
    """The revision `at` makes `changes`. `opens` is the state that a new branch lies over, else None."""

    at: StateAt
    changes: Changes
    opens: StateAt | None = None


@attrs.frozen
class Branches:
    """Where each content stands, and the steps by which it came there, each after what it builds on.

    `line` are the contents of branch 0 by revision. The first step is that of revision 0, which is given.
    """

    places: Mapping[int, StateAt]
    steps: list[Step]
    line: list[int]


def lay_branches(
    bases: Mapping[int, int | None],
    changes: Mapping[int, Changes],
    current: int,
    difference: Callable[[int, int], Changes],
) -> Branches:
    """Lay branch 0 along the contents that lead to `current`, and what goes off from them over it.

    Each content of `bases` comes after the one that it is laid over. Of several that follow upon one content
    off the line, the one that most follows upon goes on with its branch.
    """
    line = _line(bases, current)
    layer = _Layer(bases, _heirs(bases, line), difference)
    steps = [layer.on_line(content, changes[content], revision) for revision, content in enumerate(line)]
    on_line = frozenset(line)
    steps += [layer.off_line(content, changes[content]) for content in bases if content not in on_line]
    return Branches(layer.places, _reached_first(steps), line)


def _line(bases: Mapping[int, int | None], current: int) -> list[int]:
    line: list[int] = []
    content: int | None = current
    while content is not None:
        line.append(content)
        content = bases[content]
    line.reverse()
    return line


def _heirs(bases: Mapping[int, int | None], line: Iterable[int]) -> dict[int, int]:
    """For each content off the line, the one of those laid over it that goes on with its branch."""
    sizes = dict.fromkeys(bases, 1)
    heirs: dict[int, int] = {}
    for content in reversed(list(bases)):
        base = bases[content]
        if base is not None:
            sizes[base] += sizes[content]
            heir = heirs.get(base)
            if heir is None or sizes[content] >= sizes[heir]:
                heirs[base] = content
    for content in line:
        heirs.pop(content, None)
    return heirs


class _Layer:
    """Gives each content its place."""

    def __init__(
        self,
        bases: Mapping[int, int | None],
        heirs: Mapping[int, int],
        difference: Callable[[int, int], Changes],
    ) -> None:
        self.places: dict[int, StateAt] = {}
        self._bases = bases
        self._heirs = heirs
        self._difference = difference
        self._levels = [0]

    def on_line(self, content: int, changes: Changes, revision: int) -> Step:
        """The next revision of branch 0."""
        at = self.places[content] = StateAt(0, revision)
        return Step(at, changes)

    def off_line(self, content: int, changes: Changes) -> Step:
        """The next revision of the branch that the content's base is on, or the first of a new branch."""
        base = self._bases[content]
        if base is None:
            raise ValueError("the first content of a room is on its line")
        under = self.places[base]
        if self._heirs.get(base) == content:
            at = self.places[content] = StateAt(under.branch, under.revision + 1)
            return Step(at, changes)
        level = self._levels[under.branch] + 1
        if level > MOST_LEVELS:
            level, base = 1, self._on_branch_0(base)
            under, changes = self.places[base], self._difference(base, content)
        at = self.places[content] = StateAt(len(self._levels), 1)
        self._levels.append(level)
        return Step(at, changes, opens=under)

    def _on_branch_0(self, content: int) -> int:
        """The content of the line that this one goes off from."""
        while self.places[content].branch != 0:
            base = self._bases[content]
            if base is None:
                raise ValueError("the first content of a room is on its line")
            content = base
        return content


def _reached_first(steps: Iterable[Step]) -> list[Step]:
    return sorted(steps, key=lambda step: step.at)
