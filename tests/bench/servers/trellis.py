# SPDX-License-Identifier: Apache-2.0
"""Trellis, from this work tree."""

from __future__ import annotations

import importlib.metadata
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import yaml

from tests.bench.servers.process import Command
from tests.bench.servers.recipe import Place, homeserver_yaml

_TREE = Path(__file__).parents[3]


_PACKAGES = ("homeserver", "federation", "storage")


class Trellis:
    """`python -m homeserver run`, by the interpreter that runs the benchmark.

    It runs from a copy, of the work tree as it is or of a commit: nobody's edits change what is measured
    between two restarts.
    """

    name = "trellis"

    def __init__(self, commit: str | None) -> None:
        self._commit = commit

    def version(self) -> str:
        asked = [self._commit] if self._commit is not None else ["--dirty"]
        git = subprocess.run(
            ["git", "describe", "--always", *asked], cwd=_TREE, capture_output=True, text=True
        )
        if self._commit is not None and git.returncode != 0:
            raise RuntimeError(f"git knows no commit {self._commit}")
        return (
            f"Trellis {importlib.metadata.version('trellis-homeserver')} ({git.stdout.strip() or 'no git'})"
        )

    def command(self, place: Place) -> Command:
        copy = place.directory / "tree"
        copy.mkdir()
        if self._commit is not None:
            self._export(copy, self._commit)
        else:
            for package in _PACKAGES:
                shutil.copytree(_TREE / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
        configuration = place.directory / "homeserver.yaml"
        configuration.write_text(yaml.safe_dump(homeserver_yaml(place)))
        return Command([sys.executable, "-m", "homeserver", "run", "--config", str(configuration)], copy)

    def _export(self, copy: Path, commit: str) -> None:
        archive = subprocess.run(
            ["git", "archive", commit, *_PACKAGES], cwd=_TREE, capture_output=True, check=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            opened.extractall(copy, filter="data")
