# SPDX-License-Identifier: Apache-2.0
"""`trellis check`: looks at everything that a start needs, and says what to mend."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from homeserver.cli.files import add_config_option, chosen_config
from homeserver.cli.finding import Finding, State
from homeserver.cli.network_checks import check_addresses, check_listeners, check_tls
from homeserver.cli.storage_checks import (
    check_database,
    check_log,
    check_media,
    check_secret,
    check_signing_key,
)
from homeserver.config.config import Config
from homeserver.config.place import Level

CHECKS = (
    check_signing_key,
    check_database,
    check_media,
    check_log,
    check_secret,
    check_tls,
    check_listeners,
    check_addresses,
)


def add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "check", help="check the configuration and what it names, and say what to mend"
    )
    add_config_option(parser)
    parser.set_defaults(command=check)


def check(arguments: argparse.Namespace) -> int:
    """Print a line for each finding; 1 if any of them has to be mended, else 0.

    Raises:
        ConfigError: the configuration itself cannot be used.
    """
    findings = []
    for finding in _findings(chosen_config(arguments)):
        print(finding, flush=True)
        findings.append(finding)
    failed = sum(finding.state is State.FAILED for finding in findings)
    print(f"\n{failed} to mend." if failed else "\nNothing to mend.")
    return 1 if failed else 0


def _findings(config: Config) -> Iterator[Finding]:
    source = ", ".join(map(str, config.sources)) or f"no file, the defaults, with everything in {config.base}"
    yield Finding(State.OK, "configuration", f"{source}: {config.server_name}")
    for notice in config.notices:
        state = State.REMARK if notice.level is Level.INFORMATION else State.WARNING
        yield Finding(state, "configuration", str(notice))
    for look in CHECKS:
        yield from look(config)
