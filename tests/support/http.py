# SPDX-License-Identifier: Apache-2.0
"""A server of given endpoints in the reactor's thread, and a client for tests that run in the main thread."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.python.threadable import isInIOThread

from federation.errors import UnknownToken
from federation.http.admission import Admission, no_limit
from federation.http.dispatch import Dispatch
from federation.http.endpoint import Endpoint, Request, Requester
from federation.http.service import Service
from federation.http.site import Site
from tests.support.reactor import in_reactor

ALICE = Requester(user_id="@alice:test", user=1, device_id="ALICE", device=1)
BOB = Requester(user_id="@bob:test", user=2, device_id="BOB", device=2)
TOKENS: Mapping[str, Requester] = {"alice": ALICE, "bob": BOB}


@attrs.frozen
class Response:
    """An answer; header names are in lower case, the body is unpacked."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.content)

    @property
    def errcode(self) -> str:
        """The code of a standard error response."""
        return str(self.json["errcode"])


@attrs.frozen
class Client:
    """Makes requests to one server, each on a connection of its own, with one access token."""

    host: str
    port: int
    token: str | None = None
    timeout: float = 20.0

    def request(
        self,
        method: str,
        path: str,
        value: Any = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send `value` as JSON, or `body` as it is, and return the answer."""
        assert not isInIOThread(), "this client would wait for its own thread"
        if value is not None:
            body = json.dumps(value).encode()
        sent = dict(headers or {})
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            content = answer.read()
        received = {name.lower(): text for name, text in answer.getheaders()}
        if received.get("content-encoding") == "gzip":
            content = gzip.decompress(content)
        return Response(answer.status, received, content)

    def get(self, path: str, **options: Any) -> Response:
        """A GET request."""
        return self.request("GET", path, **options)

    def put(self, path: str, value: Any = None, **options: Any) -> Response:
        """A PUT request."""
        return self.request("PUT", path, value, **options)

    def post(self, path: str, value: Any = None, **options: Any) -> Response:
        """A POST request."""
        return self.request("POST", path, value, **options)

    def delete(self, path: str, value: Any = None, **options: Any) -> Response:
        """A DELETE request."""
        return self.request("DELETE", path, value, **options)

    def logged_in(self, token: str | None) -> Client:
        """The same client with another token, or none."""
        return attrs.evolve(self, token=token)


@attrs.frozen
class Server:
    """A server that listens on 127.0.0.1."""

    site: Site
    port: int

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, token: str | None = "alice") -> Client:
        """A client of this server."""
        return Client("127.0.0.1", self.port, token)


@contextlib.contextmanager
def serve(
    endpoints: Iterable[Endpoint],
    *,
    tokens: Mapping[str, Requester] = TOKENS,
    authenticate: Callable[[str], Awaitable[Requester]] | None = None,
    limit: Callable[[str, Requester | str], None] = no_limit,
    assume: Callable[[Requester, str | None, str | None], Awaitable[Requester]] | None = None,
    seen: Callable[[Requester, Request], None] | None = None,
    x_forwarded: bool = False,
    build_service: Callable[[Sequence[Endpoint], Admission], Service] | None = None,
) -> Iterator[Server]:
    """Serve `endpoints`; without `authenticate`, the access tokens are those of `tokens`.

    `build_service`: as the composition root does it for one of several processes.
    """

    async def known(token: str) -> Requester:
        if token not in tokens:
            raise UnknownToken
        return tokens[token]

    admission = Admission(authenticate=authenticate or known, limit=limit, assume=assume, seen=seen)
    service = (build_service or _build_service)(tuple(endpoints), admission)
    site = Site(reactor=reactor, service=service, x_forwarded=x_forwarded)

    async def listen() -> Any:
        return reactor.listenTCP(0, site, interface="127.0.0.1")

    async def stop() -> None:
        await port.stopListening()
        drained = site.drain()
        site.abort()
        await drained

    port = in_reactor(listen())
    try:
        yield Server(site, port.getHost().port)
    finally:
        in_reactor(stop())


def _build_service(endpoints: Sequence[Endpoint], admission: Admission) -> Service:
    return Service(dispatch=Dispatch(endpoints), admission=admission)
