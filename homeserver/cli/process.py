# SPDX-License-Identifier: Apache-2.0
"""The process that the server runs in: its limits and its id."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from homeserver.cli.problem import Problem

logger = logging.getLogger(__name__)

COLLECTOR_THRESHOLDS = (10_000, 10, 10)
"""How many more objects are made than freed before the young ones are looked at; how many such looks before
older ones are."""


def raise_file_limit(wanted: int) -> None:
    """Let the process have `wanted` files open (0: as many as the system lets it)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted or hard
    if hard != resource.RLIM_INFINITY and target > hard:
        logger.warning("soft_file_limit: %d is more than the system allows, %d is taken", target, hard)
        target = hard
    if target != soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        except (ValueError, OSError) as error:
            logger.warning("soft_file_limit: %d open files were refused: %s", target, error)


def collect_garbage_seldom() -> None:
    """Let the collector of cycles leave alone what there is now, which stays, and look at the rest seldom.

    Nearly all that a request makes goes without the collector. At Python's thresholds it took an eighth of
    the processor time of a send, and held everybody up for 90 ms at a time to look at all modules again.
    """
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


@contextlib.contextmanager
def pid_file(path: Path | None) -> Iterator[None]:
    """Keep the process id in the file `path` as long as the context lasts.

    Raises:
        Problem: it cannot be written.
    """
    if path is None:
        yield
        return
    try:
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        raise Problem(f"pid_file: cannot write {path}: {error.strerror or error}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
