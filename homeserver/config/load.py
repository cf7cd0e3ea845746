# SPDX-License-Identifier: Apache-2.0
"""From YAML files, or from no file at all, to a `Config`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from homeserver.config.config import Config, read_config
from homeserver.config.place import ConfigError

LARGEST_FILE = 4 * 1024 * 1024


class _Loader(yaml.SafeLoader):
    """YAML without repeated keys, keys that are no text, and dates, which no key of ours has."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
        return super().construct_mapping(node, deep)

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: set[str] = set()
        for name, _ in node.value:
            line = name.start_mark.line + 1
            if name.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise ConfigError("", f"line {line}: a key must be a text, put it in quotes")
            if name.value in seen and name.tag != "tag:yaml.org,2002:merge":
                raise ConfigError("", f"line {line}: the key {name.value[:60]!a} stands here a second time")
            seen.add(name.value)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_yaml(text: str | bytes) -> object:
    """The value of a YAML document.

    Raises:
        ConfigError: it is no YAML, or has a key twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError("", f"{where}not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        # The constructors of PyYAML let some errors of Python through, for example for !!int "x".
        raise ConfigError("", f"not valid YAML: {' '.join(str(error).split())[:200]}") from None
    except RecursionError:
        raise ConfigError("", "not usable YAML: it is nested too deep") from None


def _read_file(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError("", f"cannot read it: {error.strerror or error}", source=str(path)) from None
    if len(text) > LARGEST_FILE:
        raise ConfigError("", f"larger than {LARGEST_FILE // 2**20} MiB", source=str(path))
    try:
        document = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError("", error.problem, source=str(path)) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(
            "", "found no mapping, expected keys such as server_name: example.org", source=str(path)
        )
    return document


def _files(paths: tuple[Path, ...]) -> list[Path]:
    """The files that `paths` name; a directory stands for the YAML files in it, in order of their names."""
    files: list[Path] = []
    for path in paths:
        files += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    return files


def load_config(*paths: Path) -> Config:
    """Read the configuration from one or more files; a key of a later file replaces that of an earlier one.

    A directory stands for the `*.yaml` files in it. Relative paths start from that of the first file.

    Raises:
        ConfigError: a file cannot be read, or what it says cannot be used.
    """
    files = [file.absolute() for file in _files(paths)]
    if not files:
        raise ConfigError("", "no *.yaml file there", source=", ".join(map(str, paths)))
    mapping: dict[str, object] = {}
    for file in files:
        mapping |= _read_file(file)
    try:
        return read_config(mapping, base=files[0].parent, sources=tuple(files))
    except ConfigError as error:
        source = ", ".join(map(str, files))
        raise ConfigError(error.key, error.problem, source=source) from None


def default_config(data_dir: Path) -> Config:
    """The configuration for trying Trellis out: `localhost`, on 127.0.0.1:8008, everything below `data_dir`.

    Registration is closed, no other server is asked for anything, and nobody outside this machine can
    connect.
    """
    return read_config({"server_name": "localhost", "trusted_key_servers": []}, base=data_dir.absolute())
