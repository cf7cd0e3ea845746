# SPDX-License-Identifier: Apache-2.0
"""What the server has prepared for one connection, so that it reads and plans each statement once."""

from __future__ import annotations

from collections import OrderedDict

from storage.engine.postgres_sql import Template

_MOST = 400
_TITLE = 48


class PreparedStatements:
    """Prepared statements of one connection; beyond `_MOST` the one that was used least recently goes."""

    def __init__(self) -> None:
        self._names: OrderedDict[Template, str] = OrderedDict()
        self._count = 0
        self._spoilt = False

    def call(self, template: Template, arguments: str) -> list[str]:
        """The statements that run `template` with `arguments` (SQL): sent in this order, and all of them."""
        name = self._names.get(template)
        if name is not None:
            self._names.move_to_end(template)
            return [f"EXECUTE {name}({arguments})"]
        texts = self._room()
        self._count += 1
        # Whoever looks at the server's sessions or its log sees what runs.
        title = template.title[:_TITLE].encode("ascii", "replace").decode().replace('"', "'")
        name = self._names[template] = f'"{title} {self._count}"'
        return [
            *texts,
            f"PREPARE {name}({', '.join(template.types)}) AS {template.text}",
            f"EXECUTE {name}({arguments})",
        ]

    def forget(self) -> None:
        """A message failed, and nobody knows which of its statements were prepared."""
        self._names.clear()
        self._spoilt = True

    def _room(self) -> list[str]:
        if self._spoilt:
            self._spoilt = False
            return ["DEALLOCATE ALL"]
        if len(self._names) < _MOST:
            return []
        _, oldest = self._names.popitem(last=False)
        return [f"DEALLOCATE {oldest}"]
