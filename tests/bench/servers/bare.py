# SPDX-License-Identifier: Apache-2.0
"""The limit: a bare `twisted.web` server that only pretends to be a homeserver."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.bench.servers.process import Command
from tests.bench.servers.recipe import Place

_TREE = Path(__file__).parents[3]


class Bare:
    """`tests.bench.servers.bare_site`, by the interpreter that runs the benchmark."""

    name = "bare"

    def version(self) -> str:
        return "bare twisted.web: JSON decoding, one ed25519 signature, group commit to disk"

    def command(self, place: Place) -> Command:
        database = json.dumps(dict(place.database.configuration()))
        arguments = [sys.executable, "-m", "tests.bench.servers.bare_site", str(place.port), database]
        return Command(arguments, _TREE)
