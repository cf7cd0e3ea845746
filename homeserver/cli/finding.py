# SPDX-License-Identifier: Apache-2.0
"""What a check finds."""

from __future__ import annotations

import enum

import attrs


class State(enum.Enum):
    """How it stands with something."""

    OK = "ok"
    REMARK = "remark"
    WARNING = "warning"
    FAILED = "MEND"


@attrs.frozen
class Finding:
    """A line of `trellis check`: what was looked at, how it stands, and what to do about it."""

    state: State
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.state.value:<8} {self.subject:<14} {self.text}"
