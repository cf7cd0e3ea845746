# SPDX-License-Identifier: Apache-2.0
"""Who listens where, as the kernel tells it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

_LISTEN = "0A"


def listening_ports(pids: Iterable[int]) -> set[int]:
    """The TCP ports over IPv4 on which one of these processes listens."""
    by_inode = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTEN:
            by_inode[fields[9]] = int(fields[1].rpartition(":")[2], 16)
    found = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inode = os.readlink(descriptor).removeprefix("socket:[").removesuffix("]")
                if inode in by_inode:
                    found.add(by_inode[inode])
    return found
