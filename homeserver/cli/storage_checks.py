# SPDX-License-Identifier: Apache-2.0
"""Checks of what lies on this machine's disks and in the database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from federation.signing_key import SigningKeyError, read_signing_keys, readable_by_others
from homeserver.cli.finding import Finding, State
from homeserver.cli.log_config import read_log_config
from homeserver.cli.problem import one_line
from homeserver.config.config import Config
from homeserver.config.place import ConfigError
from storage.engine.errors import DatabaseError
from storage.engine.inspection import SchemaState, inspect_database


def writable_problem(directory: Path) -> str | None:
    """Why nothing can be written into a directory that may still have to be made; None: it can."""
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return f"{place} is no directory"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"this user cannot write to {place}"
    return None


def check_signing_key(config: Config) -> Iterator[Finding]:
    """The key is there, or can be made."""
    path = config.signing_key_path
    if not path.exists():
        parent = path.parent
        problem = None if parent.is_dir() or not config.sources else f"the directory {parent} does not exist"
        problem = problem or writable_problem(parent)
        if problem:
            yield Finding(State.FAILED, "signing key", f"{path} cannot be made: {problem}")
        else:
            yield Finding(State.OK, "signing key", f"{path} will be made at the first start")
        return
    try:
        keys = read_signing_keys(path)
    except SigningKeyError as error:
        yield Finding(State.FAILED, "signing key", str(error))
        return
    yield Finding(State.OK, "signing key", f"{path}: signs as {keys[0].key_id}")
    if readable_by_others(path):
        yield Finding(State.WARNING, "signing key", f"others can read it: chmod 600 {path}")


def check_database(config: Config) -> Iterator[Finding]:
    """The database answers and has a schema that this program can work with."""
    settings = config.database.database
    if settings.engine == "sqlite" and not Path(settings.path).exists():
        yield _missing_file(Path(settings.path), made=not config.sources)
        return
    try:
        state = inspect_database(settings)
    except DatabaseError as error:
        advice = "is PostgreSQL running, and are user, password, host and dbname right?"
        hint = f" ({advice})" if settings.engine == "postgresql" else ""
        yield Finding(State.FAILED, "database", one_line(error) + hint)
        return
    yield _schema(state, settings.path or "PostgreSQL")
    if settings.path and not os.access(settings.path, os.W_OK):
        yield Finding(State.FAILED, "database", f"this user cannot write to {settings.path}")


def _missing_file(path: Path, *, made: bool) -> Finding:
    if not path.parent.is_dir() and not made:
        return Finding(State.FAILED, "database", f"the directory {path.parent} does not exist: make it")
    problem = writable_problem(path.parent)
    if problem:
        return Finding(State.FAILED, "database", f"{path} cannot be made: {problem}")
    return Finding(State.OK, "database", f"{path} will be made at the first start")


def _schema(state: SchemaState, name: str) -> Finding:
    if state.is_too_new:
        return Finding(
            State.FAILED,
            "database",
            f"{name} has schema version {state.version}, which this program does not know (it knows up to "
            f"{state.known}): install a newer release, or restore the backup made before the upgrade",
        )
    if state.version == 0:
        return Finding(State.OK, "database", f"{name}: empty, its tables will be made at the first start")
    if state.version < state.known:
        text = f"{name}: schema version {state.version}, will be brought to {state.known} at the next start"
        return Finding(State.OK, "database", text)
    return Finding(State.OK, "database", f"{name}: schema version {state.version}")


def check_media(config: Config) -> Iterator[Finding]:
    """Uploads can be stored."""
    path = config.media.media_store_path
    if not config.media.enable_media_repo:
        yield Finding(State.REMARK, "media", "enable_media_repo is false: this server keeps no media")
        return
    problem = writable_problem(path)
    if problem:
        yield Finding(State.FAILED, "media", f"uploads cannot be stored in {path}: {problem}")
    else:
        when = "" if path.exists() else " will be made at the first start"
        yield Finding(State.OK, "media", f"{path}{when}")


def check_log(config: Config) -> Iterator[Finding]:
    """The log's configuration can be read."""
    path = config.operation.log_config
    if path is None:
        return
    try:
        read_log_config(path)
    except ConfigError as error:
        yield Finding(State.FAILED, "log", str(error))
    else:
        yield Finding(State.OK, "log", str(path))


def check_secret(config: Config) -> Iterator[Finding]:
    """The file with the shared secret can be read."""
    try:
        config.registration.shared_secret()
    except ConfigError as error:
        yield Finding(State.FAILED, "registration", str(error))
    if config.registration.enable_registration and not config.registration.registration_requires_token:
        yield Finding(State.WARNING, "registration", "anybody can register without verification")
