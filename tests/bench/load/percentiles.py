# SPDX-License-Identifier: Apache-2.0
"""Percentiles of what was seen."""

from __future__ import annotations

from collections.abc import Iterable


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of the values do not exceed; raises ValueError for none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("nothing was answered in the window")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
