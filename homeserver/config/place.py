# SPDX-License-Identifier: Apache-2.0
"""Where in the configuration a value stands, and what is said about it."""

from __future__ import annotations

import enum
import json
from pathlib import Path

import attrs

SHOWN_CHARACTERS = 60


class ConfigError(Exception):
    """The configuration cannot be used; `str()` is one line that names the file and the key and says what
    is expected."""

    def __init__(self, key: str, problem: str, *, source: str = "") -> None:
        super().__init__(": ".join(part for part in (source, key, problem) if part))
        self.key = key
        self.problem = problem


class Level(enum.Enum):
    """How much a notice matters."""

    INFORMATION = "information"
    WARNING = "warning"


@attrs.frozen
class Notice:
    """A remark about a key that does not keep the server from starting."""

    level: Level
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


def shown(value: object) -> str:
    """`value` as one short line of ASCII for a message."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return "true" if value else "false"
        case str():
            text = json.dumps(value[:SHOWN_CHARACTERS])
            return text if len(value) <= SHOWN_CHARACTERS else f"{text}…"
        case int() if value.bit_length() > 128:
            return "a very large number"
        case int() | float():
            return str(value)
        case _:
            return f"a value of YAML type {type(value).__name__}"


@attrs.frozen
class Place:
    """A value's place: its full key path, the directory that relative paths start from, the notices so far.

    The list of notices is shared by all places of one reading.
    """

    key: str
    base: Path
    notices: list[Notice]
    secret: bool = False

    @classmethod
    def top(cls, base: Path) -> Place:
        """The place of the whole document."""
        return cls(key="", base=base, notices=[])

    def child(self, name: str, *, secret: bool = False) -> Place:
        """The place of the value under `name`; a secret one is never shown in messages."""
        name = name if name.isprintable() and name.isascii() else json.dumps(name)
        return attrs.evolve(
            self, key=f"{self.key}.{name}" if self.key else name, secret=secret or self.secret
        )

    def item(self, index: int) -> Place:
        """The place of an item of a list, counted from 0."""
        return attrs.evolve(self, key=f"{self.key}[{index}]")

    def wrong(self, value: object, expected: str) -> ConfigError:
        """The error for a value that is not what is `expected`."""
        found = "a value that does not fit" if self.secret else shown(value)
        return ConfigError(self.key, f"found {found}, expected {expected}")

    def error(self, problem: str) -> ConfigError:
        """The error for a value that is well-formed but cannot stand."""
        return ConfigError(self.key, problem)

    def warn(self, text: str) -> None:
        """Note that the operator should look at this key."""
        self.notices.append(Notice(Level.WARNING, self.key, text))

    def inform(self, text: str) -> None:
        """Note something about this key that needs no action."""
        self.notices.append(Notice(Level.INFORMATION, self.key, text))
