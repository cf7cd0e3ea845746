# SPDX-License-Identifier: Apache-2.0
"""The whole configuration: one record per section, their keys side by side in one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from homeserver.config.database import DatabaseConfig
from homeserver.config.federation import FederationConfig
from homeserver.config.keys import keys_of, read_keys
from homeserver.config.listeners import ListenersConfig
from homeserver.config.media import MediaConfig
from homeserver.config.operation import OperationConfig
from homeserver.config.passwords import PasswordsConfig
from homeserver.config.place import ConfigError, Notice, Place
from homeserver.config.presence import NoticesConfig
from homeserver.config.processes import ProcessesConfig
from homeserver.config.profiles import ProfilesConfig
from homeserver.config.rate_limits import RateLimitsConfig
from homeserver.config.redis import RedisConfig
from homeserver.config.registration import RegistrationConfig
from homeserver.config.rooms import RoomsConfig
from homeserver.config.server import ServerConfig
from homeserver.config.sessions import SessionsConfig
from homeserver.config.signing import SigningConfig
from homeserver.config.unknown import note_unknown

HEADING = "heading"


def _section(heading: str, introduction: str = "") -> Any:
    return attrs.field(metadata={HEADING: (heading, introduction)})


@attrs.frozen(kw_only=True)
class Config:
    """The configuration of one server.

    `sources` are the files that it was read from (none: the defaults), `base` is the directory that relative
    paths start from, and `notices` is what is to be said about it at the start.
    """

    server: ServerConfig = _section("Server")
    listeners: ListenersConfig = _section("Listeners and TLS")
    database: DatabaseConfig = _section("Database")
    redis: RedisConfig = _section("Redis")
    signing: SigningConfig = _section("Signing keys")
    registration: RegistrationConfig = _section("Registration")
    passwords: PasswordsConfig = _section("Passwords")
    sessions: SessionsConfig = _section("Sessions")
    profiles: ProfilesConfig = _section("Profiles")
    rooms: RoomsConfig = _section("Rooms")
    media: MediaConfig = _section("Media")
    federation: FederationConfig = _section("Federation")
    presence: NoticesConfig = _section("Presence and server notices")
    rate_limits: RateLimitsConfig = _section(
        "Rate limits",
        "A limit lets something be done burst_count times at once, and then per_second times in a second on "
        "average.",
    )
    processes: ProcessesConfig = _section("Several processes")
    operation: OperationConfig = _section("Log and caches")
    base: Path
    sources: tuple[Path, ...] = ()
    notices: tuple[Notice, ...] = ()

    @property
    def server_name(self) -> str:
        """The name of this server."""
        return self.server.server_name

    @property
    def signing_key_path(self) -> Path:
        """The file with the signing key."""
        return self.signing.signing_key_path or self.base / f"{self.server_name}.signing.key"


def sections() -> Iterator[tuple[str, str, str, type[attrs.AttrsInstance]]]:
    """Each section: its field in `Config`, its heading, its introduction (may be empty), its record."""
    fields = attrs.fields_dict(attrs.resolve_types(Config))
    for name, field in fields.items():
        if HEADING in field.metadata:
            assert field.type is not None
            yield name, *field.metadata[HEADING], field.type


def read_config(mapping: dict[str, object], *, base: Path, sources: tuple[Path, ...] = ()) -> Config:
    """The configuration that `mapping`, the content of a YAML file, describes.

    Raises:
        ConfigError: a value is wrong, a required key is missing, or two keys contradict each other.
    """
    at = Place.top(base)
    names = [declared.name for _, _, _, record in sections() for declared in keys_of(record)]
    note_unknown(mapping, names, at)
    read: dict[str, Any] = {name: read_keys(record, mapping, at) for name, _, _, record in sections()}
    config = Config(**read, base=base, sources=sources, notices=tuple(at.notices))
    if config.processes.processes.enabled and config.database.database.engine == "sqlite":
        raise ConfigError(
            "processes.enabled", "SQLite serves one process; name a PostgreSQL database under `database`"
        )
    return config
