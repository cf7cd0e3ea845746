# SPDX-License-Identifier: Apache-2.0
"""What is known of one server's keys, and what an answer changes about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from federation.keys.key_documents import KeyDocument
from federation.rules.key_validity import PublishedKey

MOST_KEPT: Final = 512
"""Keys of one server that are kept; of more, those that counted longest ago are forgotten."""


@attrs.frozen
class KnownKeys:
    """All keys of a server; `valid_until_ts` is that of the answer that was taken last, 0 without one."""

    valid_until_ts: int = 0
    keys: Mapping[str, PublishedKey] = attrs.field(factory=dict)

    def serves(self, wanted: Mapping[str, int | None]) -> bool:
        """Whether the wanted keys are all known and count until the wanted times (None: whenever)."""
        for key_id, valid_at in wanted.items():
            key = self.keys.get(key_id)
            if key is None or (valid_at is not None and key.valid_until_ts < valid_at):
                return False
        return True


@attrs.frozen
class Learned:
    """What is known now, which keys changed, which were forgotten, and whether the answer is the latest."""

    known: KnownKeys
    changed: Mapping[str, PublishedKey]
    forgotten: frozenset[str]
    is_latest: bool


def learn(known: KnownKeys, document: KeyDocument, *, direct: bool) -> Learned:
    """Take an answer in.

    One that comes `direct` from its server always counts. One that somebody else kept counts like it unless
    it is older than what is known; an older one can only add keys.
    """
    is_latest = direct or document.valid_until_ts >= known.valid_until_ts
    changed = {
        key_id: key
        for key_id, key in document.keys.items()
        if (is_latest or key_id not in known.keys) and known.keys.get(key_id) != key
    }
    keys = {**known.keys, **changed}
    forgotten: frozenset[str] = frozenset()
    if len(keys) > MOST_KEPT:
        by_age = sorted(keys, key=lambda k: (k in document.keys, keys[k].valid_until_ts))
        forgotten = frozenset(by_age[: len(keys) - MOST_KEPT])
        keys = {key_id: key for key_id, key in keys.items() if key_id not in forgotten}
        changed = {key_id: key for key_id, key in changed.items() if key_id not in forgotten}
    valid_until = document.valid_until_ts if is_latest else known.valid_until_ts
    return Learned(KnownKeys(valid_until, keys), changed, forgotten & known.keys.keys(), is_latest)
