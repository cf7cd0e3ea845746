# SPDX-License-Identifier: Apache-2.0
"""What a local request wants to append to a room, before it is an event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from federation.graph.current_state import CurrentState
from storage.event import StoredEvent


@attrs.frozen
class Draft:
    """An event without its place in the graph. `origin_server_ts` in milliseconds; None: now."""

    sender: str
    type: str
    content: Mapping[str, Any]
    state_key: str | None = None
    redacts: str | None = None
    origin_server_ts: int | None = None


Request = Callable[[CurrentState], Sequence[Draft]]
"""Says which events to append, seeing the state that they will build on; raises to refuse.

It may be asked again where the room changed meanwhile, so it must have no effect of its own.
"""

RecordsOf = Callable[[Sequence[StoredEvent]], Iterable[Any]]
"""What else goes into the unit of the appended events, such as a transaction id."""


def no_records(_appended: Sequence[StoredEvent]) -> Iterable[Any]:
    """Nothing else."""
    return ()
