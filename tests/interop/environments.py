# SPDX-License-Identifier: Apache-2.0
"""Virtual environments with clients from the package index, kept between the runs of the tests."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ci import UNDER_CI

_INSTALL_SECONDS = 240


def environment_with(package: str) -> Path:
    """The interpreter of an environment that has `package`, installed by its name.

    Where the package index cannot be reached the test is skipped, and under CI it fails.
    """
    name = f"{package}-{platform.python_implementation()}-{platform.python_version()}".lower()
    directory = _cache() / name
    interpreter = directory / "bin" / "python"
    with _locked(directory):
        done = directory / "installed"
        if not done.exists():
            shutil.rmtree(directory, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(directory)])
            _run(
                [
                    str(interpreter),
                    "-m",
                    "pip",
                    "install",
                    "--disable-pip-version-check",
                    "--retries",
                    "2",
                    "-q",
                    package,
                ]
            )
            done.touch()
    return interpreter


def _cache() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "trellis-tests"


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other runs of the tests away while the environment is made."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS, env=_environment()
        )
        trouble = done.stderr.strip()[-1000:] if done.returncode else ""
    except subprocess.TimeoutExpired:
        trouble = f"not done in {_INSTALL_SECONDS} s"
    if trouble:
        reason = f"cannot be installed here: {' '.join(command)}: {trouble}"
        pytest.fail(reason) if UNDER_CI else pytest.skip(reason)


def _environment() -> dict[str, str]:
    """Without what would lead back to this interpreter's own packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
