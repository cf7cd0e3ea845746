# SPDX-License-Identifier: Apache-2.0
"""One database as several processes use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from storage.engine.database import Database


@attrs.frozen(eq=False)
class SharedDatabase:
    """The first of several `Database` objects on the same data, which stands for all of them.

    `sharing` are as many more, with one reader, for what the processes know of each other. `configuration` is
    the section `database` that leads there.
    """

    databases: tuple[Database, ...]
    sharing: tuple[Database, ...]
    configuration: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        """What the first has: it is used as any `Database` by those who know nothing of the others."""
        return getattr(self.databases[0], name)
