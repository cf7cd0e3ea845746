# SPDX-License-Identifier: Apache-2.0
"""The success walk: for every routed operation a request that must succeed and whose answer shows something.

Whoever routes an endpoint adds its line to a module of `walks/`. A line prepares what the request needs (its
own room or session where the request ends one) and says what the answer must show, since a schema alone is
content with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.contract.scenario import Line
from tests.contract.walks import accounts, push_rules, rooms, sync, user_data

WALK: Mapping[str, Line] = {
    **accounts.LINES,
    **rooms.LINES,
    **sync.LINES,
    **user_data.LINES,
    **push_rules.LINES,
}
"""The lines by the name of their operation."""
