# SPDX-License-Identifier: Apache-2.0
"""The program: `trellis`, or `python -m homeserver`."""

from __future__ import annotations

import sys

from twisted.internet import reactor

from homeserver.app import Homeserver
from homeserver.cli.program import run_program


def main() -> None:
    """Carry out the command line and exit."""
    sys.exit(run_program(sys.argv[1:], reactor=reactor, build_server=Homeserver))


if __name__ == "__main__":
    main()
