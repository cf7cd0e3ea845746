# SPDX-License-Identifier: Apache-2.0
"""Paths to a property of an event, such as `content.m\\.relates_to.rel_type`.

spec: appendices, "Dot-separated property paths"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

_NAME_PART = re.compile(r"\\[.\\]|\.|[^.\\]+|\\")


def parse_path(text: str) -> tuple[str, ...]:
    r"""The names that `text` leads through.

    `\.` is a dot and `\\` a backslash inside a name; any other backslash is itself.
    """
    names: list[str] = []
    parts: list[str] = []
    for part in _NAME_PART.findall(text):
        if part == ".":
            names.append("".join(parts))
            parts = []
        else:
            parts.append(part[1] if part in ("\\.", "\\\\") else part)
    names.append("".join(parts))
    return tuple(names)


def value_at(value: Any, path: tuple[str, ...]) -> Any:
    """What stands at `path` inside the JSON value `value`, or `UNSET`; paths lead through objects alone."""
    for name in path:
        if not isinstance(value, (dict, Mapping)):  # dict first: the check of the abstract class is slow
            return UNSET
        value = value.get(name, UNSET)
    return value
