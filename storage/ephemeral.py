# SPDX-License-Identifier: Apache-2.0
"""What is told and not kept: it has a position in the log of commits, and no table."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen
class TypingChange:
    """A user has begun to type in a room, or has stopped; `index` gives its position."""

    room: int
    user_id: str
    typing: bool
    index: int = 1


KINDS: frozenset[type[Any]] = frozenset({TypingChange})
