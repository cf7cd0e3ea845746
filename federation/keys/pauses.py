# SPDX-License-Identifier: Apache-2.0
"""Whom not to ask again at once."""

from __future__ import annotations

import attrs

from storage.runtime.caches import Cache, cache_of_entries

_MOST = 10_000
"""Servers that are remembered; beyond them, the one that nobody asked after for longest is forgotten."""


@attrs.frozen
class _Pause:
    until: float
    length: float


class Pauses:
    """How long servers are left alone after they were asked: `after_success` seconds, or, when they failed,
    from `shortest` seconds on, twice as long each time, up to `longest`."""

    def __init__(self, *, after_success: float, shortest: float, longest: float) -> None:
        self._after_success = after_success
        self._shortest = shortest
        self._longest = longest
        self._pauses: Cache[str, _Pause] = cache_of_entries(_MOST)

    def lets_ask(self, server_name: str, now: float) -> bool:
        """Whether the server may be asked; `now` in seconds."""
        pause = self._pauses.get(server_name)
        return pause is None or now >= pause.until or now < pause.until - self._longest

    def succeeded(self, server_name: str, now: float) -> None:
        """The server answered."""
        self._pauses[server_name] = _Pause(now + self._after_success, 0)

    def failed(self, server_name: str, now: float) -> None:
        """The server did not answer, or with nothing that can be used."""
        before = self._pauses.get(server_name)
        length = min(self._longest, max(self._shortest, 2 * (before.length if before else 0)))
        self._pauses[server_name] = _Pause(now + length, length)
