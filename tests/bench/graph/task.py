# SPDX-License-Identifier: Apache-2.0
"""What the process is asked to measure, as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Task:
    """A scenario, the `database` section of homeserver.yaml, a directory for files, and how much of it all.

    `share` is the part of the full counts, up to 1.
    """

    scenario: str
    database: Mapping[str, Any]
    directory: str
    share: float = 1.0
    room_version: str = "12"

    def encode(self) -> str:
        """As an argument of the process."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def decode(cls, text: str) -> Task:
        """The task of an argument."""
        return cls(**json.loads(text))

    def count(self, full: int, least: int = 1) -> int:
        """A count at the task's share."""
        return max(least, round(full * self.share))
