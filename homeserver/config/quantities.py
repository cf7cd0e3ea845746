# SPDX-License-Identifier: Apache-2.0
"""Durations and sizes as Synapse writes them: `30s`, `1d`, `50M`, or a plain number."""

from __future__ import annotations

import re

import attrs

from homeserver.config.kinds import LARGEST_INTEGER
from homeserver.config.place import Place

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

MILLISECONDS = {"": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY, "y": 365 * DAY}
BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

QUANTITY = re.compile(r"([0-9]{1,16})([A-Za-z]?)", re.ASCII)


def _read_quantity(value: object, units: dict[str, int]) -> int | None:
    """The number that `value` stands for in the smallest unit, or None where it is no quantity."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        return None
    return int(match[1]) * units[match[2]]


@attrs.frozen
class Duration:
    """A duration, read into milliseconds."""

    minimum: int = 0
    expected: str = attrs.field(
        default="a duration such as 30s, 5m, 12h, 7d, 2w or 1y, or a number of milliseconds", init=False
    )

    def read(self, value: object, at: Place) -> int:
        milliseconds = _read_quantity(value, MILLISECONDS)
        if milliseconds is None or not self.minimum <= milliseconds <= LARGEST_INTEGER:
            raise at.wrong(value, self.expected)
        return milliseconds


@attrs.frozen
class Size:
    """A size, read into bytes."""

    minimum: int = 0
    expected: str = attrs.field(default="a size such as 512K, 50M or 1G, or a number of bytes", init=False)

    def read(self, value: object, at: Place) -> int:
        size = _read_quantity(value, BYTES)
        if size is None or not self.minimum <= size <= LARGEST_INTEGER:
            raise at.wrong(value, self.expected)
        return size
