# SPDX-License-Identifier: Apache-2.0
"""When a server that could not be reached is tried again: pure. What it decides is stored (`Retry`)."""

from __future__ import annotations

from typing import Final

from storage.destinations import Retry

FIRST_INTERVAL: Final = 5_000
"""So long is waited after the first failure, in milliseconds; then twice as long after each."""

LONGEST_INTERVAL: Final = 3_600_000
"""An hour."""

_SPREAD: Final = 0.2  # Up to this part of a wait is taken off, so that servers are not tried all at once.


def is_due(retry: Retry | None, now: int) -> bool:
    """Whether a server may be tried at `now`, milliseconds since the epoch."""
    # A wait beyond the longest tells of a clock that was put back since.
    return retry is None or not now < retry.next_try <= now + LONGEST_INTERVAL


def after_failure(retry: Retry | None, now: int, *, chance: float) -> Retry:
    """What is stored after a try that failed; `retry` is what was before, `chance` any number in [0, 1).

    Of several tries that were under way at once, the first counts alone. A sign of life, be it a request
    of the server's own, ends it: None is stored then.
    """
    if retry is not None and not is_due(retry, now):
        return retry
    interval = FIRST_INTERVAL if retry is None else min(2 * retry.interval, LONGEST_INTERVAL)
    wait = interval - int(interval * _SPREAD * chance)
    since = now if retry is None else min(retry.failing_since, now)
    return Retry(failing_since=since, next_try=now + wait, interval=interval)
