# SPDX-License-Identifier: Apache-2.0
"""What is particular to a worker process. It imports only what the functions that it runs need."""

from __future__ import annotations

import os
import signal
import sys
import threading
from multiprocessing import parent_process
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType


class WorkerProcess(SpawnProcess):
    """A new interpreter that does not import the program it was started by."""

    def start(self) -> None:
        """Start the process."""
        program = sys.modules["__main__"]
        # A spawned process imports again whatever `__main__` was read from: here the whole server.
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            super().start()
        finally:
            sys.modules["__main__"] = program


class WorkerContext(SpawnContext):
    """Starts `WorkerProcess`es."""

    Process = WorkerProcess


def begin_work() -> None:
    """Make this process end with its parent, and not by an interrupt from the keyboard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
