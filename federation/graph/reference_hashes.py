# SPDX-License-Identifier: Apache-2.0
"""The hashes that events of room versions 1 and 2 write beside the ids of those they refer to."""

from __future__ import annotations

from collections.abc import Sequence

from federation.graph.drafts import Draft
from federation.graph.graph_tools import GraphTools
from federation.graph.hot_room import HotRoom


async def note_reference_hashes(tools: GraphTools, hot: HotRoom, drafts: Sequence[Draft]) -> bool:
    """Have at hand the hashes that the events of `drafts` will write; returns whether it took time."""
    if not hot.state.version.references_have_hashes:
        return False
    names = {e.event_id for e in hot.extremities}
    names.update(e for draft in drafts for e in tools.builder.auth_events(draft, hot.state))
    missing = [name for name in names if name not in hot.reference_hashes]
    if not missing:
        return False
    for stored in (await tools.events.by_id(missing)).values():
        hot.note_reference_hash(stored.event)
    return True
