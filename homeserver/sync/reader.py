# SPDX-License-Identifier: Apache-2.0
"""For whom and from where to where a sync goes."""

from __future__ import annotations

from typing import Final

import attrs

from federation.http.endpoint import Requester
from homeserver.filtering.filter import Filter
from homeserver.rooms.tokens import SyncToken

DEFAULT_TIMELINE_LIMIT = 10
LARGEST_TIMELINE_LIMIT = 100
NOBODY: Final[frozenset[str]] = frozenset()


@attrs.frozen
class Reader:
    """One computation of a sync: what changed after `since` (None: everything), as of `upto`.

    Messages and invites of the users `ignored` are left out.
    """

    requester: Requester
    filter: Filter
    since: SyncToken | None
    upto: SyncToken
    full_state: bool = False
    ignored: frozenset[str] = NOBODY

    @property
    def after(self) -> int:
        """The position after which changes are wanted."""
        return 0 if self.since is None else self.since.position

    @property
    def timeline_limit(self) -> int:
        """How many events a timeline may have."""
        return self.filter.timeline.limit_within(DEFAULT_TIMELINE_LIMIT, LARGEST_TIMELINE_LIMIT)
