# SPDX-License-Identifier: Apache-2.0
"""Which of a server's published keys count for an event.

spec: rooms, version 5, "Signing key validity period"; server-server-api, "Publishing Keys".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from federation.rules.room_versions import RoomVersion

LONGEST_VALIDITY_MS: Final = 7 * 24 * 60 * 60 * 1000
"""A key counts for no longer than this into the future, whatever its server says of it."""


@attrs.frozen
class PublishedKey:
    """A verification key of 32 bytes, as its server published it.

    `valid_until_ts` is that of the answer that it came in, for an old key its `expired_ts`; in milliseconds.
    """

    key: bytes
    valid_until_ts: int


def keys_for_event(
    published: Mapping[str, PublishedKey], origin_server_ts: int, version: RoomVersion, now_ms: int
) -> dict[str, bytes]:
    """Those of a server's keys, by key id, that may have signed an event of this time.

    From version 5 on a key must have been valid then; before, all that were ever published count.
    """
    if not version.enforces_key_validity:
        return {key_id: published_key.key for key_id, published_key in published.items()}
    latest = now_ms + LONGEST_VALIDITY_MS
    return {
        key_id: published_key.key
        for key_id, published_key in published.items()
        if min(published_key.valid_until_ts, latest) >= origin_server_ts
    }
