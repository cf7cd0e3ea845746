# SPDX-License-Identifier: Apache-2.0
"""Time as an argument: what components need of a reactor, so that tests can hand them another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class DelayedCall(Protocol):
    """A call that waits for its time."""

    def cancel(self) -> None:
        """Take the call back."""

    def active(self) -> bool:
        """Whether it still waits."""


class Clock(Protocol):
    """The part of `IReactorTime` that components use."""

    def seconds(self) -> float:
        """The time now, in seconds since the epoch."""

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> DelayedCall:  # noqa: A002, N802
        """Call `callable` after `delay` seconds."""


def milliseconds(clock: Clock) -> int:
    """The time now in milliseconds since the epoch, the unit of `origin_server_ts`."""
    return int(clock.seconds() * 1000)
