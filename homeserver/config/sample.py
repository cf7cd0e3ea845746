# SPDX-License-Identifier: Apache-2.0
"""Writes a configuration in which every key is documented, from what the records say about their keys.

`python -m homeserver.config.sample > sample_config.yaml` brings the committed sample up to date.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import yaml

from homeserver.config.collections import ListOf, MapOf
from homeserver.config.config import sections
from homeserver.config.keys import Key, RecordOf, keys_of
from homeserver.config.kinds import Kind

WIDTH = 100
INDENT = "  "

HEADER = """\
The configuration of Trellis.

Every key that Trellis reads stands here. A line such as "#key: value" shows the default, unless it is called
an example: take the # away to change it. Durations are written like 30s, 5m, 12h, 7d, 2w, 1y (or as a number
of milliseconds), sizes like 512K, 50M, 1G (or as a number of bytes). Relative paths start from the directory
of this file. `trellis check --config FILE` says what is wrong with a configuration."""


def first_values(server_name: str) -> dict[str, Any]:
    """What the configuration of a new server says, besides the defaults."""
    return {
        "server_name": server_name,
        "listeners": [
            {
                "port": 8008,
                "bind_addresses": ["127.0.0.1"],
                "x_forwarded": True,
                "resources": [{"names": ["client", "federation"]}],
            }
        ],
        "database": {"name": "sqlite3", "args": {"database": "homeserver.db"}},
        "signing_key_path": f"{server_name}.signing.key",
        "enable_registration": False,
        "media_store_path": "media_store",
    }


def render(values: Mapping[str, Any], *, live: bool = False) -> str:
    """The text of a configuration file that sets `values` and documents every other key.

    With `live` the other keys are set too, to their examples or defaults.
    """
    lines = [*_comment(HEADER, "")]
    for _, heading, introduction, record in sections():
        lines += ["", "", f"## {heading} {'#' * (WIDTH - len(heading) - 4)}", *_comment(introduction, "")]
        for declared in keys_of(record):
            lines += ["", *_entry(declared, values, "", live=live)]
    return "\n".join(lines) + "\n"


def _entry(declared: Key, values: Mapping[str, Any], indent: str, *, live: bool) -> Iterator[str]:
    """The documentation of a key and its value; commented out where `values` does not have it."""
    yield from _comment(declared.doc, indent)
    shown = declared.name in values
    if isinstance(declared.kind, RecordOf) and not shown:
        yield f"{indent}{'' if live else '#'}{declared.name}:"
        for inner in keys_of(declared.kind.record):
            yield from _entry(inner, {}, indent + INDENT, live=live)
        return
    yield from _inner_keys(declared.kind, indent)
    if shown:
        yield from _dump(declared.name, values[declared.name], indent)
        if declared.example is None or declared.default is None:
            return
    elif declared.example is None:
        yield from _dump(declared.name, declared.default, indent, commented=not live)
        return
    yield from _comment("For example:", indent)
    yield from _dump(declared.name, declared.example, indent, commented=shown or not live)


def _record_in(kind: Kind[Any]) -> type[attrs.AttrsInstance] | None:
    """The record of the mappings that a value of `kind` is made of."""
    if isinstance(kind, ListOf):
        return _record_in(kind.items)
    if isinstance(kind, MapOf):
        return _record_in(kind.values)
    record: type[attrs.AttrsInstance] | None = getattr(kind, "record", None)
    return record


def _inner_keys(kind: Kind[Any], indent: str) -> Iterator[str]:
    """The documentation of the keys inside a value, as a list."""
    record = _record_in(kind)
    for inner in keys_of(record) if record is not None else ():
        text = " ".join(inner.doc.split())
        if isinstance(inner.default, str | int):
            text += f" Default: {yaml.safe_dump(inner.default, width=10_000).splitlines()[0]}"
        yield from textwrap.wrap(
            f"{inner.name}: {text}",
            WIDTH,
            initial_indent=f"{indent}#   ",
            subsequent_indent=f"{indent}#     ",
            break_on_hyphens=False,
        )


def _comment(text: str, indent: str) -> Iterator[str]:
    prefix = f"{indent}# "
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield f"{indent}#"
        yield from textwrap.wrap(
            " ".join(paragraph.split()),
            WIDTH,
            initial_indent=prefix,
            subsequent_indent=prefix,
            break_on_hyphens=False,
        )


def _dump(name: str, value: Any, indent: str, *, commented: bool = False) -> Iterator[str]:
    text = yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True, width=10_000)
    for line in text.splitlines():
        yield f"{indent}{'#' if commented else ''}{line}"


if __name__ == "__main__":
    print(render(first_values("example.org")), end="")
