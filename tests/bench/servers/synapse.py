# SPDX-License-Identifier: Apache-2.0
"""Synapse from the package index, in a virtual environment of its own outside the work tree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.bench.servers.process import Command
from tests.bench.servers.recipe import Place, homeserver_yaml


def cache_directory() -> Path:
    """Where installed servers are kept between runs: `$TRELLIS_BENCH_CACHE` or `~/.cache/trellis-bench`."""
    chosen = os.environ.get("TRELLIS_BENCH_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "trellis-bench"


class Synapse:
    """One Synapse process without workers, as most people run it.

    Its SQLite connections use WAL and leave `synchronous` at what the SQLite library was built with;
    `version` says what that is here, so that the comparison is one of equal durability. Its bcrypt rounds are
    few, which makes setting the stage quick and touches no figure.
    """

    name = "synapse"

    def __init__(self, wanted: str = "1.163.2") -> None:
        self._wanted = wanted
        self._environment = cache_directory() / f"synapse-{wanted}"

    def version(self) -> str:
        if not (self._environment / "ready").exists():
            self._install()
        return f"Synapse {self._wanted}, SQLite synchronous={self._synchronous()}"

    def command(self, place: Place) -> Command:
        content = {
            **homeserver_yaml(place),
            "macaroon_secret_key": "the benchmark's macaroons",
            "form_secret": "the benchmark's forms",
            "suppress_key_server_warning": True,
            "bcrypt_rounds": 4,
        }
        configuration = place.directory / "homeserver.yaml"
        configuration.write_text(yaml.safe_dump(content))
        key = place.directory / "bench.signing.key"
        if not key.exists():
            self._run("-m", "synapse._scripts.generate_signing_key", "-o", str(key))
        arguments = [str(self._python), "-m", "synapse.app.homeserver", "--config-path", str(configuration)]
        return Command(arguments, place.directory)

    @property
    def _python(self) -> Path:
        return self._environment / "bin" / "python"

    def _install(self) -> None:
        base = getattr(sys, "_base_executable", sys.executable)
        subprocess.run([base, "-m", "venv", "--clear", str(self._environment)], check=True, timeout=120)
        done = subprocess.run(
            [
                str(self._python),
                "-m",
                "pip",
                "install",
                "-q",
                f"matrix-synapse=={self._wanted}",
                "psycopg2-binary",
            ],
            capture_output=True,
            text=True,
            timeout=900,
        )
        if done.returncode != 0:
            raise RuntimeError(f"Synapse cannot be installed: {done.stderr[-500:]}")
        (self._environment / "ready").touch()

    def _synchronous(self) -> str:
        level = self._run(
            "-c",
            "import sqlite3, tempfile, os; d = tempfile.mkdtemp(); p = os.path.join(d, 'probe'); "
            "c = sqlite3.connect(p); c.execute('PRAGMA journal_mode = WAL'); "
            "print(c.execute('PRAGMA synchronous').fetchone()[0]); c.close(); os.remove(p); os.rmdir(d)",
        )
        return {"0": "OFF", "1": "NORMAL", "2": "FULL", "3": "EXTRA"}.get(level.strip(), level.strip())

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._python), *arguments], capture_output=True, text=True, timeout=60, cwd="/", check=False
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-500:])
        return done.stdout
