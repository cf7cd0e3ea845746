# SPDX-License-Identifier: Apache-2.0
"""Which configuration a command works with, and writing files that must not replace others."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from homeserver.config.config import Config
from homeserver.config.load import default_config, load_config

CONFIG_FILE = "homeserver.yaml"
DATA_DIRECTORY = "trellis-data"


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the option `--config`."""
    parser.add_argument(
        "-c",
        "--config",
        "--config-path",
        dest="config",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="the configuration; may be given several times, later files replace keys of earlier ones; may "
        f"be a directory of *.yaml files (default: ./{CONFIG_FILE} if it is there, else everything in "
        f"./{DATA_DIRECTORY})",
    )


def chosen_config(arguments: argparse.Namespace) -> Config:
    """The configuration that `--config` names, else that of the current directory, else the defaults.

    Raises:
        ConfigError: it cannot be read or used.
    """
    paths: list[Path] = arguments.config
    if not paths and Path(CONFIG_FILE).exists():
        paths = [Path(CONFIG_FILE)]
    return load_config(*paths) if paths else default_config(Path(DATA_DIRECTORY))


def make_data_directory(config: Config) -> None:
    """Make the directory that holds everything where no configuration says otherwise; for its owner alone."""
    if not config.sources:
        config.base.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_new_file(path: Path, text: str) -> None:
    """Write a file that only its owner can read. Raises `OSError`, `FileExistsError` where there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
