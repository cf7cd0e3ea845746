# SPDX-License-Identifier: Apache-2.0
"""What is said about keys that no record reads."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from homeserver.config.known import IGNORED, NOT_YET, NOT_YET_ENFORCED, REFUSED, names_below
from homeserver.config.place import Place

INDEX = re.compile(r"\[[0-9]+\]")


def note_unknown(mapping: dict[str, object], read: Iterable[str], at: Place) -> None:
    """Note the keys of `mapping`, which stands `at` a place, that are not among those `read` from it.

    Raises:
        ConfigError: one of them is a key that must not be left out of account.
    """
    read = frozenset(read)
    above = INDEX.sub("", at.key)
    for name, value in mapping.items():
        path = f"{above}.{name}" if above else name
        if path in REFUSED and value is not None:
            raise at.child(name).error(REFUSED[path])
        if name not in read and path not in REFUSED:
            _note(name, path, [*read, *names_below(above)], at.child(name))


def _note(name: str, path: str, neighbours: list[str], at: Place) -> None:
    if path in NOT_YET:
        at.inform("Trellis knows this key but does not use it yet")
    elif path in NOT_YET_ENFORCED:
        at.warn("Trellis does not enforce this key yet")
    elif path not in IGNORED:
        nearest = difflib.get_close_matches(name[:100], neighbours, n=1)
        at.warn(f"unknown key; did you mean {nearest[0]}?" if nearest else "unknown key")
