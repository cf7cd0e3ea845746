# SPDX-License-Identifier: Apache-2.0
"""A connection to a server that listens on loopback."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import attrs
import treq
from twisted.internet import reactor
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool
from twisted.web.http_headers import Headers

from tests.contract.connection import Reply


@attrs.frozen
class Loopback:
    """Makes real HTTP requests to a port of this machine. To be used in the reactor's thread."""

    server_name: str
    port: int
    _pool: HTTPConnectionPool = attrs.field(factory=lambda: HTTPConnectionPool(reactor, persistent=True))

    async def request(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """Make one request, as `Connection` says."""
        uri = f"http://127.0.0.1:{self.port}{path}{'?' if query else ''}{query}"
        sent = Headers({"Content-Type": ["application/json"]})
        for name, value in headers.items():
            sent.setRawHeaders(name, [value])
        producer = FileBodyProducer(BytesIO(body)) if body else None
        agent = Agent(reactor, pool=self._pool)
        response = await agent.request(method.encode(), uri.encode("ascii"), sent, producer)
        received = {
            name.decode().lower(): values[-1].decode("latin-1")
            for name, values in response.headers.getAllRawHeaders()
        }
        return Reply(status=response.code, headers=received, body=await treq.content(response))

    async def close(self) -> None:
        """Close the connections that are kept."""
        await self._pool.closeCachedConnections()
