# SPDX-License-Identifier: Apache-2.0
"""Trellis, from this work tree."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import yaml

from tests.bench.servers.process import Command
from tests.bench.servers.recipe import Place, homeserver_yaml

_TREE = Path(__file__).parents[3]


class Trellis:
    """`python -m homeserver run`, by the interpreter that runs the benchmark."""

    name = "trellis"

    def version(self) -> str:
        if not (_TREE / "homeserver" / "__main__.py").exists():
            raise RuntimeError("homeserver/__main__.py is not there")
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=_TREE, capture_output=True, text=True, check=False
        )
        return (
            f"Trellis {importlib.metadata.version('trellis-homeserver')} ({git.stdout.strip() or 'no git'})"
        )

    def command(self, place: Place) -> Command:
        configuration = place.directory / "homeserver.yaml"
        configuration.write_text(yaml.safe_dump(homeserver_yaml(place)))
        return Command([sys.executable, "-m", "homeserver", "run", "--config", str(configuration)], _TREE)
