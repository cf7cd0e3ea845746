# SPDX-License-Identifier: Apache-2.0
"""Which thread an event belongs to. spec: client-server-api, "Threaded read receipts"."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

_LONGEST_ID: Final = 255
"""Bytes of an event id. spec: appendices, "Event IDs"."""


class RecentThreads:
    """The threads of the latest events of a room that are in one, so that what relates to them joins it.

    What relates to an event in a thread is in that thread too, however many relations lie between. At most
    `limit` events are remembered: what relates to an older one is in the main timeline.
    """

    __slots__ = ("_limit", "_roots")

    def __init__(self, roots: Mapping[str, str], *, limit: int = 1_000) -> None:
        self._roots = OrderedDict(roots)
        self._limit = limit

    def place(self, event_id: str, content: Mapping[str, Any]) -> str | None:
        """The event id of the root of the new event's thread, None in the main timeline."""
        relation = content.get("m.relates_to")
        if relation is None:
            return None
        root = self._root(relation)
        if root is not None:
            self._roots[event_id] = root
            if len(self._roots) > self._limit:
                self._roots.popitem(last=False)
        return root

    def _root(self, relation: Any) -> str | None:
        if not isinstance(relation, Mapping):
            return None
        parent = relation.get("event_id")
        if not is_event_id(parent):
            return None
        if relation.get("rel_type") == "m.thread":
            return parent
        return self._roots.get(parent) if isinstance(relation.get("rel_type"), str) else None


def is_event_id(value: Any) -> TypeGuard[str]:
    """Whether `value` can be an event's id, which a root must have to be kept as one."""
    if not isinstance(value, str) or not value.startswith("$") or len(value) > _LONGEST_ID:
        return False
    try:
        return len(value.encode()) <= _LONGEST_ID
    except UnicodeEncodeError:  # a lone surrogate
        return False
