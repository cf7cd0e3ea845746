# SPDX-License-Identifier: Apache-2.0
"""`trellis init`: a commented configuration and a signing key for a new server."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from federation.signing_key import SigningKeyError, create_signing_key
from homeserver.cli.files import CONFIG_FILE, write_new_file
from homeserver.cli.problem import Problem
from homeserver.config.config import read_config
from homeserver.config.load import parse_yaml
from homeserver.config.sample import first_values, render


def add_init(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("init", help="write a configuration and a signing key for a new server")
    parser.add_argument(
        "--server-name", required=True, metavar="NAME", help="the server's name, such as example.org"
    )
    parser.add_argument("--dir", type=Path, default=Path(), help="where to write them (default: here)")
    parser.set_defaults(command=init)


def init(arguments: argparse.Namespace) -> int:
    """Write `homeserver.yaml` and the signing key; nothing that is there is replaced.

    Raises:
        ConfigError: the server name is none.
        Problem: a file is there already or cannot be written.
    """
    directory: Path = arguments.dir
    text = render(first_values(arguments.server_name))
    mapping = parse_yaml(text)
    assert isinstance(mapping, dict)
    config = read_config(mapping, base=directory.absolute())
    path, key_path = directory / CONFIG_FILE, directory / config.signing_key_path.name
    for existing in (path, key_path):
        if existing.exists():
            raise Problem(
                f"{existing} is there already; nothing was written. Choose another --dir, or remove it"
            )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        create_signing_key(key_path)
        write_new_file(path, text)
    except (OSError, SigningKeyError) as error:
        raise Problem(f"cannot write to {directory}: {error}") from None
    print(f"Wrote {path} and {key_path}. Keep a copy of the key in a safe place.")
    print(f"Look through the configuration, then start the server:\n\n    {_start(path)}\n")
    return 0


def _start(path: Path) -> str:
    return f"trellis run --config {shlex.quote(str(path))}"
