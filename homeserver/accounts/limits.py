# SPDX-License-Identifier: Apache-2.0
"""Rate limits as this part needs them: some things count only once they are done, or have failed."""

from __future__ import annotations

from typing import Protocol


class Limits(Protocol):
    """Rate limits by the names of the configuration, `rc_login.account`, each for whom it is kept."""

    def count(self, name: str, who: str) -> None:
        """Count one more. Raises `LimitExceeded` where that is one too many."""

    def check(self, name: str, who: str) -> None:
        """Raise `LimitExceeded` where `count` would; nothing is counted."""


class NoLimits:
    """Limits that are never reached."""

    def count(self, name: str, who: str) -> None:
        """Nothing is counted."""

    def check(self, name: str, who: str) -> None:
        """Nothing is refused."""
