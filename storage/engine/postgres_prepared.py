# SPDX-License-Identifier: Apache-2.0
"""What the server has prepared for one connection, so that it reads and plans each statement once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from storage.engine.postgres_sql import Template

_MOST = 400
_TITLE = 48


class PreparedStatements:
    """Prepared statements of one connection; beyond `_MOST` the one that was used least recently goes."""

    def __init__(self, send: Callable[[str], object]) -> None:
        """`send` sends a message at once. Each PREPARE is one, since the server keeps it as a whole."""
        self._send = send
        self._names: OrderedDict[Template, str] = OrderedDict()
        self._count = 0

    def call(self, template: Template, arguments: str) -> list[str]:
        """What runs `template` with `arguments` (SQL), to be sent after all that was made before."""
        name = self._names.get(template)
        if name is not None:
            self._names.move_to_end(template)
            return [f"EXECUTE {name}({arguments})"]
        name = self._prepared(template)
        texts = []
        if len(self._names) >= _MOST:
            _, oldest = self._names.popitem(last=False)
            texts.append(f"DEALLOCATE {oldest}")
        self._names[template] = name
        return [*texts, f"EXECUTE {name}({arguments})"]

    def _prepared(self, template: Template) -> str:
        self._count += 1
        # Whoever looks at the server's sessions or its log sees what runs.
        title = template.title[:_TITLE].encode("ascii", "replace").decode().replace('"', "'")
        name = f'"{title} {self._count}"'
        self._send(f"PREPARE {name}({', '.join(template.types)}) AS {template.text}")
        return name
