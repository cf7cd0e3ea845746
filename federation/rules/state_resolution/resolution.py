# SPDX-License-Identifier: Apache-2.0
"""The resolution of several states of a room into one. spec: rooms, "State resolution"."""

from __future__ import annotations

from federation.rules.room_versions import StateResolution
from federation.rules.state_resolution.conflict import Conflict, Key
from federation.rules.state_resolution.version_1 import resolve_version_1
from federation.rules.state_resolution.version_2 import resolve_version_2


def resolve(conflict: Conflict) -> dict[Key, str | None]:
    """The resolved state, as event ids, for every key that is not unconflicted; None: it has no value.

    The keys are those of the conflicted state set and those that only the auth difference or the conflicted
    state subgraph brings in. Every other key keeps its unconflicted value.
    """
    if conflict.version.state_resolution is StateResolution.V1:
        return resolve_version_1(conflict)
    return resolve_version_2(conflict)
