# SPDX-License-Identifier: Apache-2.0
"""How much of everything: the counts that the figures are named after, and smaller ones for a quick look."""

from __future__ import annotations

import attrs


@attrs.frozen
class Scale:
    """Counts and durations of a run; durations in seconds."""

    name: str
    repeats: int
    window: float
    senders: int
    watchers: int
    rounds: int
    idle_rooms: int
    owned_rooms: int
    history: int
    joiners: int
    disk_messages: int
    disk_states: int
    mixed_seconds: float
    mixed_polls: int
    crowd: int
    many_rooms: int
    polls: int
    graph_share: float


FULL = Scale(
    name="full",
    repeats=3,
    window=3.0,
    senders=50,
    watchers=100,
    rounds=25,
    idle_rooms=100,
    owned_rooms=300,
    history=2_000,
    joiners=2_000,
    disk_messages=2_000,
    disk_states=500,
    mixed_seconds=20.0,
    mixed_polls=500,
    crowd=10_000,
    many_rooms=3_000,
    polls=10_000,
    graph_share=1.0,
)

QUICK = Scale(
    name="quick",
    repeats=2,
    window=1.5,
    senders=50,
    watchers=100,
    rounds=8,
    idle_rooms=40,
    owned_rooms=60,
    history=400,
    joiners=200,
    disk_messages=400,
    disk_states=150,
    mixed_seconds=5.0,
    mixed_polls=200,
    crowd=300,
    many_rooms=100,
    polls=500,
    graph_share=0.2,
)
