# SPDX-License-Identifier: Apache-2.0
"""What a batch of events will do to a room, as a try to place it found out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from federation.graph.building import Extremity
from federation.graph.current_state import Key, StateEntry
from federation.rules.errors import AuthRefused
from storage.event import Event, StateAt

TRIAL: Final = -1
"""The branch that stands for the next revisions of branch 0 while a batch is tried."""


def real_state(state: StateAt, base: int) -> StateAt:
    """A state in terms of a trial as what it becomes: `base` is the head of branch 0 before it."""
    return StateAt(0, base + state.revision) if state.branch == TRIAL else state


@attrs.frozen
class Placement:
    """An event with its place. `before` and `after` are states in terms of the trial.

    `refused` says why it is rejected or soft-failed. `was_unknown`: it had its place already, but not the
    state before it.
    """

    event: Event
    number: int
    topo: int
    before: StateAt | None
    after: StateAt | None = None
    rejected: bool = False
    soft_failed: bool = False
    refused: AuthRefused | None = None
    is_extremity: bool = False
    replaced: tuple[int, ...] = ()
    missing: tuple[str, ...] = ()
    was_unknown: bool = False


@attrs.frozen
class Step:
    """The next thing that happens to the room: an event takes its place, or the current state changes.

    `changes` are those of the current state.
    """

    placement: Placement | None
    changes: Mapping[Key, StateEntry | None]


@attrs.define
class Trial:
    """What a batch will do to the room: steps in order, the branches that it touches with what their heads
    were (those from `first_branch` on are new), and the forward extremities after it. Where it `begins_anew`,
    those before it are no more.

    `resolutions` are those that it used, by states in terms of the trial; `kept` the events of values that
    the room in memory keeps whole. `lacking` are events that could not be placed, with the events that they
    refer to and nobody knows.
    """

    first_branch: int
    begins_anew: bool = False
    steps: list[Step] = attrs.field(factory=list)
    touched: dict[int, int] = attrs.field(factory=dict)
    extremities: list[Extremity] = attrs.field(factory=list)
    resolutions: dict[frozenset[StateAt], StateAt] = attrs.field(factory=dict)
    kept: dict[str, Event] = attrs.field(factory=dict)
    lacking: dict[str, frozenset[str]] = attrs.field(factory=dict)
