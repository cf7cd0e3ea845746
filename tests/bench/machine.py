# SPDX-License-Identifier: Apache-2.0
"""Which core serves whom, what the machine is, and how busy others keep it."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import attrs

TICKS = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Cores:
    """The server under test has one core to itself as far as this program can say.

    The load generator has another. The PostgreSQL cluster gets a third where there is one and else shares
    the load generator's, as a database beside the homeserver would not take the homeserver's core either.
    """

    server: frozenset[int]
    load: frozenset[int]
    database: frozenset[int]
    all: frozenset[int]

    @property
    def apart(self) -> bool:
        """Whether the server and the load generator have different cores."""
        return self.server.isdisjoint(self.load)


def share_out_cores() -> Cores:
    """The cores this process may use, shared out."""
    cores = sorted(os.sched_getaffinity(0))
    load, server = cores[0], cores[-1]
    database = cores[1] if len(cores) > 2 else load
    return Cores(
        server=frozenset({server}),
        load=frozenset({load}),
        database=frozenset({database}),
        all=frozenset(cores),
    )


def describe_machine(cores: Cores) -> dict[str, str]:
    """What a reader of the figures needs to know of the machine."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model,
        "cores": str(len(cores.all)),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def filesystem_of(path: Path) -> str:
    """The type of the file system that holds `path`; a sync to `tmpfs` costs nothing and spoils figures."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, name, *_ = line.split(" ")
        if path.resolve().is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, name
    return kind


def busy_seconds(cores: frozenset[int]) -> float:
    """Processor seconds that anybody has spent on `cores` since boot."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *counts = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, counts)
            total += user + nice + system + irq + softirq + steal
    return total / TICKS


def wait_for_calm(cores: Cores, *, patience: float) -> None:
    """Wait, `patience` seconds at most, for a moment in which others leave the cores alone."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = busy_seconds(cores.all)
        time.sleep(0.25)
        if busy_seconds(cores.all) - before < 0.1:
            return
