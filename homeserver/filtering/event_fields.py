# SPDX-License-Identifier: Apache-2.0
"""Events cut down to the fields that a client asks for. spec: data: sync_filter, `event_fields`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from homeserver.rooms.property_path import parse_path

MAX_DEPTH: Final = 16
"""How many names of a path are followed; what lies deeper is returned whole, as it may be."""

_Tree: TypeAlias = "dict[str, _Tree | None]"


@attrs.frozen
class EventFields:
    """The fields to keep, as a tree of names; None stands for all that lies below."""

    _tree: _Tree

    @classmethod
    def compile(cls, paths: Iterable[str]) -> EventFields:
        """The fields that dot-separated `paths` lead to."""
        tree: _Tree = {}
        for path in paths:
            _plant(tree, parse_path(path)[:MAX_DEPTH])
        return cls(tree)

    def of(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """What is wanted of an event in its client form. Values are shared with `event`, not copied."""
        return _prune(event, self._tree)


def _plant(tree: _Tree, path: tuple[str, ...]) -> None:
    *parents, last = path
    for name in parents:
        below = tree.setdefault(name, {})
        if below is None:
            return  # a shorter path wants it whole
        tree = below
    tree[last] = None


def _prune(value: Mapping[str, Any], tree: _Tree) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, below in tree.items():
        if name not in value:
            continue
        if below is None:
            kept[name] = value[name]
        elif isinstance(value[name], Mapping) and (inner := _prune(value[name], below)):
            kept[name] = inner
    return kept
