# SPDX-License-Identifier: Apache-2.0
"""Telling others the keys of a third server, with our signature.

spec: server-server-api, "Querying Keys Through Another Server"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from federation.keys.key_documents import OwnKeys
from federation.keys.key_ring import KeyRing
from federation.rules.canonical_json import decode_json
from storage.runtime.clock import Clock, milliseconds
from storage.server_keys import KeptDocument, ServerKeys

_LONGEST_WAIT = 20.0
"""Seconds after which the answer goes out without those servers that have not answered yet."""

_LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes of documents in one answer; servers beyond it are left out, as if they could not be reached."""


class Notary:
    """Answers for other servers, from what they said last or by asking them.

    An answer is asked for anew when half of its lifetime has gone; where the server gives none, the last one
    goes out.
    """

    def __init__(self, *, own: OwnKeys, ring: KeyRing, store: ServerKeys, clock: Clock) -> None:
        self._own = own
        self._ring = ring
        self._store = store
        self._clock = clock

    async def documents(self, wanted: Mapping[str, int | None]) -> list[dict[str, Any]]:
        """The answers of these servers, signed by them and by us. Those that nothing is known of are missing.

        `wanted`: server → the time in milliseconds until which its keys should count, None for now.
        Raises `DatabaseError`.
        """
        now = milliseconds(self._clock)
        others = {
            name: now if until is None else until
            for name, until in wanted.items()
            if name != self._own.server_name
        }
        kept = await self._store.documents(others)
        stale = [name for name, until in others.items() if not _is_fresh(kept.get(name), until, now)]
        if stale:
            await self._asked(stale)
            kept = {**kept, **await self._store.documents(stale)}
        found = [self._own.document(now)] if self._own.server_name in wanted else []
        room = _LARGEST_ANSWER
        for document in kept.values():
            room -= len(document.document)
            if room >= 0:
                found.append(self._own.countersign(decode_json(document.document)))
        return found

    async def _asked(self, names: list[str]) -> None:
        asking = Deferred.fromCoroutine(self._ring.refresh(names))
        timer = self._clock.callLater(_LONGEST_WAIT, asking.cancel)
        try:
            await asking
        except CancelledError:
            if timer.active():
                raise
        finally:
            if timer.active():
                timer.cancel()


def _is_fresh(document: KeptDocument | None, until: int, now_ms: int) -> bool:
    if document is None or document.valid_until_ts < until:
        return False
    return now_ms < document.fetched_ts + (document.valid_until_ts - document.fetched_ts) // 2
