# SPDX-License-Identifier: Apache-2.0
"""What differs between the servers under test: how one is found, configured and started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs
import yaml

from tests.bench.servers.database import DatabasePlace
from tests.bench.servers.process import Command

SHARED_SECRET = "the benchmark registers its users with this"

_LOG_CONFIG = {
    "version": 1,
    "handlers": {"output": {"class": "logging.StreamHandler"}},
    "root": {"level": "WARNING", "handlers": ["output"]},
    "disable_existing_loggers": False,
}
_LIMIT = {"per_second": 1_000_000, "burst_count": 1_000_000}


@attrs.frozen
class Place:
    """Where one server lives during a run."""

    directory: Path
    port: int
    database: DatabasePlace


class Recipe(Protocol):
    """One kind of server."""

    name: str

    def version(self) -> str:
        """What is measured, exactly; installs it where it is not there. RuntimeError where it cannot be."""

    def command(self, place: Place) -> Command:
        """Write what it needs below `place.directory` and say how it is run."""


def homeserver_yaml(place: Place) -> dict[str, Any]:
    """The configuration that Trellis and Synapse share: rate limits lifted, warnings logged, presence off.

    Presence is off: its traffic would wake long polls at moments that have nothing to do with the figure.
    """
    directory = place.directory
    log_config = directory / "log.yaml"
    log_config.write_text(yaml.safe_dump(_LOG_CONFIG))
    limits: Mapping[str, Any] = {
        "rc_message": _LIMIT,
        "rc_registration": _LIMIT,
        "rc_login": {"address": _LIMIT, "account": _LIMIT, "failed_attempts": _LIMIT},
        "rc_joins": {"local": _LIMIT, "remote": _LIMIT},
        "rc_joins_per_room": _LIMIT,
        "rc_invites": {"per_room": _LIMIT, "per_user": _LIMIT, "per_issuer": _LIMIT},
        "rc_room_creation": _LIMIT,
    }
    return {
        "server_name": "bench.localhost",
        "public_baseurl": f"http://127.0.0.1:{place.port}/",
        "pid_file": str(directory / "homeserver.pid"),
        "listeners": [
            {
                "port": place.port,
                "type": "http",
                "tls": False,
                "bind_addresses": ["127.0.0.1"],
                "resources": [{"names": ["client"], "compress": False}],
            }
        ],
        "database": dict(place.database.configuration()),
        "registration_shared_secret": SHARED_SECRET,
        "signing_key_path": str(directory / "bench.signing.key"),
        "media_store_path": str(directory / "media"),
        "log_config": str(log_config),
        "report_stats": False,
        "trusted_key_servers": [],
        "presence": {"enabled": False},
        **limits,
    }
