# SPDX-License-Identifier: Apache-2.0
"""The states of a hot room over time, in memory as they are on disk: branches, each a timeline by key.

Branch 0 is the current state. Of it the values now are at hand, and the values that keys had before, back to
a floor; of other branches, those that were needed lately. Pure: whoever uses it loads what it lacks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import attrs

from federation.graph.current_state import CurrentState, Key, StateEntry
from storage.event import StateAt
from storage.state_records import ALWAYS

MOST_LEVELS: Final = 4
"""How deep branches may lie over each other; a deeper one is laid over branch 0 anew."""

_REMEMBERED: Final = 1_000
"""About so many changes of the current state stay in memory."""

_MOST_REMEMBERED: Final = 20_000
"""So many do where states of long ago are asked for again and again."""

_LATELY: Final = 50
"""What was asked for stays for at least so many calls of `forget_old`."""

_NEVER: Final = 2**62


class Ended(NamedTuple):
    """What a key of branch 0 was before revision `end`; None: it had no value."""

    end: int
    value: StateEntry | None


class Begun(NamedTuple):
    """What a key of a branch is from revision `first` on; None: removed.

    `inherited`: what it is in the state that the branch lies over.
    """

    first: int
    value: StateEntry | None
    inherited: bool = False


@attrs.define(eq=False)
class Branch:
    """A branch over `parent`; `head` is its latest revision, `rows` its changes by key, in order."""

    parent: StateAt
    head: int = 0
    rows: dict[Key, list[Begun]] = attrs.field(factory=dict)

    def begun(self, key: Key, revision: int) -> Begun | None:
        """What the branch itself says of the key at `revision`."""
        rows = self.rows.get(key)
        return None if rows is None else _begun(rows, revision)


class StateTimelines:
    """Values of keys at states, and differences between states.

    `current` is the state at the head of branch 0, which the room's writer changes through `advance`.
    """

    def __init__(self, current: CurrentState, *, head: int, next_branch: int) -> None:
        self.current = current
        self.head = head
        self.next_branch = next_branch
        self._floor = head
        self._past: dict[Key, list[Ended]] = {}
        self._log: deque[tuple[int, Key]] = deque()
        self._branches: dict[int, Branch] = {}
        # The earliest revision of branch 0 that was asked for lately, and in the time before that.
        self._asked = self._asked_before = _NEVER
        self._calls = 0

    @property
    def floor(self) -> int:
        """The revision of branch 0 back to which everything is at hand."""
        return self._floor

    def branch(self, number: int) -> Branch | None:
        """A branch that is in memory."""
        return self._branches.get(number)

    def lacks(self, states: Iterable[StateAt]) -> StateAt | None:
        """A state that must be loaded before one of `states` can be looked at: a branch, or branch 0."""
        for state in states:
            while state.branch != 0:
                branch = self._branches.get(state.branch)
                if branch is None:
                    return state
                state = branch.parent
            self._asked = min(self._asked, state.revision)
            if state.revision < self._floor:
                return state
        return None

    def value(self, state: StateAt, key: Key) -> StateEntry | None:
        """The value of a key at a state that is at hand."""
        while state.branch != 0:
            branch = self._branches[state.branch]
            begun = branch.begun(key, state.revision)
            if begun is not None:
                return begun.value
            state = branch.parent
        past = self._past.get(key)
        if past is not None and past[-1].end > state.revision:
            return _value_in(past, state.revision)
        return self.current.get(*key)

    def differences(self, states: Sequence[StateAt]) -> dict[Key, tuple[StateEntry | None, ...]]:
        """The keys that do not have one value at all of `states`, with their values at each."""
        keys = self._candidates(states)
        columns = [self._values(state, keys) for state in states]
        found = {}
        for key, values in zip(keys, zip(*columns, strict=True), strict=True):
            first = values[0]
            for value in values:
                if value is not first and _differ(first, value):
                    found[key] = values
                    break
        return found

    def _values(self, state: StateAt, keys: Collection[Key]) -> list[StateEntry | None]:
        """The value of each of the keys at a state that is at hand."""
        levels = []
        while state.branch != 0:
            branch = self._branches[state.branch]
            levels.append((branch.rows, state.revision))
            state = branch.parent
        revision, pasts, now = state.revision, self._past, self.current.entries
        found: list[StateEntry | None] = []
        for key in keys:
            for rows, at in levels:
                if (of_key := rows.get(key)) is not None and (begun := _begun(of_key, at)) is not None:
                    found.append(begun.value)
                    break
            else:
                past = pasts.get(key)
                ended = past is not None and past[-1].end > revision
                found.append(_value_in(past, revision) if ended and past is not None else now.get(key))
        return found

    def whole(self, state: StateAt) -> Iterator[tuple[Key, StateEntry]]:
        """All keys and values of a state that is at hand."""
        changes = self.changes_between(StateAt(0, self.head), state)
        for key in self.current.keys():  # noqa: SIM118
            if key not in changes:
                value = self.current.get(*key)
                assert value is not None
                yield key, value
        for key, changed in changes.items():
            if changed is not None:
                yield key, changed

    def changes_between(self, old: StateAt, new: StateAt) -> dict[Key, StateEntry | None]:
        """What must change to come from one state to another."""
        return {key: values[1] for key, values in self.differences((old, new)).items()}

    def _candidates(self, states: Sequence[StateAt]) -> set[Key]:
        keys: set[Key] = set()
        roots = []
        for state in states:
            while state.branch != 0:
                branch = self._branches[state.branch]
                if state.revision >= branch.head:
                    keys.update(branch.rows)
                else:
                    keys.update(key for key, rows in branch.rows.items() if rows[0].first <= state.revision)
                state = branch.parent
            roots.append(state.revision)
        first, last = min(roots), max(roots)
        if first < last:
            for revision, key in reversed(self._log):
                if revision <= first:
                    break
                if revision <= last:
                    keys.add(key)
        return keys

    def level(self, state: StateAt) -> int:
        """How many branches lie between the state and branch 0."""
        level = 0
        while state.branch != 0:
            level, state = level + 1, self._branches[state.branch].parent
        return level

    def is_head(self, state: StateAt) -> bool:
        """Whether the state is the latest of its branch."""
        return state.revision == (self.head if state.branch == 0 else self._branches[state.branch].head)

    def root(self, state: StateAt) -> StateAt:
        """The state of branch 0 over which the state lies."""
        while state.branch != 0:
            state = self._branches[state.branch].parent
        return state

    def open(self, parent: StateAt) -> StateAt:
        """A new branch over `parent`; it begins as that state. A deep one is laid over branch 0."""
        base, changes = self._base(parent)
        state = self._new_branch(Branch(base))
        return state if base == parent else self.extend(state, changes)

    def open_trial(self, number: int, parent: StateAt) -> StateAt:
        """As `open`, for a branch that is tried only, under a number of the caller's."""
        self._branches[number] = Branch(parent)
        return StateAt(number, 0)

    def open_given(self, parent: StateAt, changes: Mapping[Key, StateEntry | None]) -> StateAt:
        """A new branch for a state given from outside: its values hold since before what is known."""
        base, differences = self._base(parent)
        rows = {key: [Begun(ALWAYS, value)] for key, value in {**differences, **changes}.items()}
        return self._new_branch(Branch(base, rows=rows))

    def _base(self, parent: StateAt) -> tuple[StateAt, Mapping[Key, StateEntry | None]]:
        """The state that a new branch over `parent` is laid over, and how `parent` differs from it."""
        if self.level(parent) < MOST_LEVELS:
            return parent, {}
        root = self.root(parent)
        return root, self.changes_between(root, parent)

    def _new_branch(self, branch: Branch) -> StateAt:
        number = self.next_branch
        self.next_branch += 1
        self._branches[number] = branch
        return StateAt(number, 0)

    def cut(self, number: int, head: int) -> None:
        """Take back what was added to a branch after revision `head`."""
        branch = self._branches[number]
        branch.head = head
        longer = [key for key, rows in branch.rows.items() if rows[-1].first > head]
        for key in longer:
            rows = branch.rows[key]
            kept = [row for row in rows if row.first <= head]
            if kept:
                branch.rows[key] = kept
            else:
                del branch.rows[key]

    def extend(self, state: StateAt, changes: Mapping[Key, StateEntry | None]) -> StateAt:
        """The next revision of a branch other than 0, at whose head `state` is."""
        branch = self._branches[state.branch]
        assert branch.head == state.revision, "a branch is extended at its head only"
        branch.head += 1
        if not branch.rows:
            branch.rows = {key: [Begun(branch.head, value)] for key, value in changes.items()}
            return StateAt(state.branch, branch.head)
        for key, value in changes.items():
            branch.rows.setdefault(key, []).append(Begun(branch.head, value))
        return StateAt(state.branch, branch.head)

    def make_real(self, trial: int, base: int) -> None:
        """The branch `trial` has become the revisions of branch 0 after `base`: so say what lies over it."""
        if self._branches.pop(trial, None) is None:
            return
        for branch in self._branches.values():
            if branch.parent.branch == trial:
                branch.parent = StateAt(0, base + branch.parent.revision)

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget branches that were tried only."""
        for number in numbers:
            self._branches.pop(number, None)

    def advance(self, olds: Mapping[Key, StateEntry | None]) -> int:
        """The current state has just changed; `olds` are the values before of what changed."""
        self.head += 1
        for key, old in olds.items():
            self._past.setdefault(key, []).append(Ended(self.head, old))
            self._log.append((self.head, key))
        return self.head

    def begin(self) -> int:
        """The current state has become one that was given, and held before: nothing was ever different."""
        self.head += 1
        self._floor = self.head
        return self.head

    def forget_old(self) -> None:
        """Raise the floor where much is remembered, and drop branches when there are many.

        What lies between the states that are asked for lately and now is kept: it would be read again.
        """
        self._calls += 1
        if self._calls % _LATELY == 0:
            self._asked_before, self._asked = self._asked, _NEVER
        if len(self._log) > 2 * _REMEMBERED:
            needed = min(self._asked, self._asked_before)
            while self._log and self._is_old(needed):
                self._forget_first()
        if len(self._branches) > _REMEMBERED:
            self._branches.clear()

    def _is_old(self, needed: int) -> bool:
        """Whether the first of what is remembered may go; half a revision is of no use."""
        count, first = len(self._log), self._log[0][0]
        return count > _MOST_REMEMBERED or first == self._floor or (count > _REMEMBERED and first <= needed)

    def _forget_first(self) -> None:
        self._floor, key = self._log.popleft()
        past = self._past[key]
        del past[0]
        if not past:
            del self._past[key]

    def learn_earlier(
        self, lowest: int, floor: int, changes: Iterable[tuple[int, Key, StateEntry | None]]
    ) -> None:
        """Branch 0 has grown downwards to revision `floor`; `lowest` was the lowest that was known.

        `changes` are the revisions in which keys changed and what they were before, the latest first.
        """
        if lowest < self._floor:
            return
        while self._log and self._log[0][0] <= lowest:
            self._forget_first()  # so far it seemed as if nothing had been before
        for revision, key, old in changes:
            self._past.setdefault(key, []).insert(0, Ended(revision, old))
            self._log.appendleft((revision, key))
        self._floor = floor
        self._asked = min(self._asked, floor)

    def learn_past(self, floor: int, ended: Mapping[Key, Sequence[Ended]]) -> None:
        """What was read of branch 0: all that ended after revision `floor`, by key, in order.

        What has ended in memory since it was read is kept.
        """
        if floor >= self._floor:
            return
        old_floor = self._floor
        older = {key: [e for e in rows if e.end <= old_floor] for key, rows in ended.items()}
        log = sorted((e.end, key) for key, rows in older.items() for e in rows)
        self._log.extendleft(reversed(log))
        for key, rows in older.items():
            if rows:
                self._past[key] = [*rows, *self._past.get(key, ())]
        self._floor = floor

    def learn_branch(self, number: int, parent: StateAt, rows: Mapping[Key, list[Begun]]) -> None:
        """What was read of a branch."""
        if number not in self._branches:
            head = max((0, *(begun.first for of_key in rows.values() for begun in of_key)))
            self._branches[number] = Branch(parent, head, dict(rows))


def _begun(rows: Sequence[Begun], revision: int) -> Begun | None:
    """The row of a key that holds at `revision`; None where the state below says what holds."""
    found = rows[-1]
    if found.first > revision:
        before = [row for row in rows if row.first <= revision]
        if not before:
            return None
        found = before[-1]
    return None if found.inherited else found


def _value_in(past: Sequence[Ended], revision: int) -> StateEntry | None:
    """What a key of branch 0 was at a revision after which it has changed."""
    return past[bisect_right(past, revision, key=_end)].value


def _end(ended: Ended) -> int:
    return ended.end


def _differ(one: StateEntry | None, other: StateEntry | None) -> bool:
    if one is other:
        return False
    if one is None or other is None:
        return True
    return one.number != other.number
