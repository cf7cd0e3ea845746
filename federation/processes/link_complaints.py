# SPDX-License-Identifier: Apache-2.0
"""Lines in the log about connections that fail: each is said once, and again only after a while."""

from __future__ import annotations

import logging

from storage.runtime.clock import Clock

logger = logging.getLogger(__name__)

_SILENCE = 60.0
"""Seconds between two equal lines; a stranger who connects again and again does not fill the log."""

_MOST = 1000
"""So many lines are remembered."""


class Complaints:
    """What was complained of, and when."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}

    def warn(self, text: str) -> None:
        """Write `text` to the log unless it was written just now."""
        now = self._clock.seconds()
        last = self._said.get(text)
        if last is not None and now - last < _SILENCE:
            return
        if len(self._said) >= _MOST:
            self._said.clear()
        self._said[text] = now
        logger.warning("%s", text)
