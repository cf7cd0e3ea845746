# SPDX-License-Identifier: Apache-2.0
"""The process that the server runs in: its limits and its id."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from homeserver.cli.problem import Problem

logger = logging.getLogger(__name__)


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
