# SPDX-License-Identifier: Apache-2.0
"""Asks peers of the tests for keys over TLS, whatever their certificate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from federation.transport.errors import PeerRefused, ServerUnreachable
from tests.support.fake_peer import Refused, request_json


@attrs.frozen
class KeyClientOfTests:
    """Server names are `127.0.0.1:PORT`. `log` is what was asked."""

    log: list[str] = attrs.field(factory=list)

    async def get(self, destination: str, path: str, *, timeout: float, largest: int) -> Any:
        """The decoded JSON of the answer."""
        return await self._ask("GET", destination, path, None)

    async def post(
        self, destination: str, path: str, *, content: Mapping[str, Any], timeout: float, largest: int
    ) -> Any:
        """The same with a body."""
        return await self._ask("POST", destination, path, content)

    async def _ask(self, method: str, destination: str, path: str, content: Any) -> Any:
        self.log.append(f"{method} {destination}{path}")
        try:
            return await request_json(method, f"https://{destination}{path}", {}, content)
        except Refused as error:
            raise PeerRefused(destination, error.status, "M_UNKNOWN", "", {}) from error
        except Exception as error:
            raise ServerUnreachable(destination, type(error).__name__) from error
