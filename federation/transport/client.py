# SPDX-License-Identifier: Apache-2.0
"""Signed requests to other servers, JSON in and out.

spec: server-server-api, "API standards", "Request Authentication".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout

from federation.discovery.discovery import Discovery
from federation.rules.canonical_json import decode_json, encode_lenient
from federation.rules.errors import NotJson, TooDeep
from federation.rules.identifiers import parse_server_name
from federation.rules.signing import SigningKey, sign_json
from federation.transport.errors import (
    AnswerTooLarge,
    AnswerUnusable,
    ConnectionFailed,
    NoAnswer,
    PeerRefused,
    ServerUnreachable,
)
from federation.transport.exchange import Answered, Asking, Exchange
from federation.transport.reasons import printable

LARGEST_ANSWER = 32 * 1024 * 1024
"""Bytes that an answer may have unless the caller says otherwise."""

DEFAULT_SECONDS = 30.0

Query: TypeAlias = Mapping[str, str | Sequence[str]]

_MOST_TARGETS = 6  # that one request tries
_NO_QUERY: Query = {}


class FederationClient:
    """Asks other servers in the name of this one.

    All methods return the decoded JSON of an answer with a status of 2xx. `path` is percent-encoded already
    and begins with a slash; `timeout`, in seconds, is for everything from discovery to the last byte;
    `largest` is in bytes. They raise `ServerUnreachable` (`ServerNotAllowed`), `PeerRefused`,
    `AnswerUnusable`, `InvalidIdentifier` for what is no server name, and `NotCanonicalJson` for content that
    cannot be written.
    """

    def __init__(
        self,
        *,
        server_name: str,
        signing_key: SigningKey,
        discovery: Discovery,
        exchange: Exchange,
        reactor: Any,
        user_agent: str,
    ) -> None:
        self._server_name = server_name
        self._key = signing_key
        self._discovery = discovery
        self._exchange = exchange
        self._reactor = reactor
        self._user_agent = user_agent.encode("ascii")

    async def get(
        self,
        destination: str,
        path: str,
        query: Query = _NO_QUERY,
        *,
        timeout: float = DEFAULT_SECONDS,
        largest: int = LARGEST_ANSWER,
    ) -> Any:
        """GET."""
        return await self._in_time(timeout, "GET", destination, path, query, None, largest)

    async def put(
        self,
        destination: str,
        path: str,
        content: Mapping[str, Any],
        query: Query = _NO_QUERY,
        *,
        timeout: float = DEFAULT_SECONDS,
        largest: int = LARGEST_ANSWER,
    ) -> Any:
        """PUT. It may reach the server twice, if the connection breaks before the answer."""
        return await self._in_time(timeout, "PUT", destination, path, query, content, largest)

    async def post(
        self,
        destination: str,
        path: str,
        content: Mapping[str, Any],
        query: Query = _NO_QUERY,
        *,
        timeout: float = DEFAULT_SECONDS,
        largest: int = LARGEST_ANSWER,
    ) -> Any:
        """POST. It is sent once."""
        return await self._in_time(timeout, "POST", destination, path, query, content, largest)

    async def _in_time(
        self,
        seconds: float,
        method: str,
        destination: str,
        path: str,
        query: Query,
        content: Mapping[str, Any] | None,
        largest: int,
    ) -> Any:
        parse_server_name(destination)
        asking = self._asking(method, destination, _uri_of(path, query), content, largest)
        asked = Deferred.fromCoroutine(self._ask(destination, asking))
        try:
            answer = await asked.addTimeout(seconds, self._reactor)
        except DeferredTimeout:
            raise ServerUnreachable(destination, f"no whole answer within {seconds:g} s") from None
        return _json_of(answer, destination)

    def _asking(
        self, method: str, destination: str, uri: str, content: Mapping[str, Any] | None, largest: int
    ) -> Asking:
        """The request with the header that proves who asks."""
        signed: dict[str, Any] = {
            "method": method,
            "uri": uri,
            "origin": self._server_name,
            "destination": destination,
        }
        if content is not None:
            signed["content"] = content
        signature = sign_json(signed, self._server_name, self._key)["signatures"][self._server_name]
        credentials = (
            f'X-Matrix origin="{self._server_name}",destination="{destination}",'
            f'key="{self._key.key_id}",sig="{signature[self._key.key_id]}"'
        )
        headers = [(b"Authorization", credentials.encode("ascii")), (b"User-Agent", self._user_agent)]
        body = None
        if content is not None:
            headers.append((b"Content-Type", b"application/json"))
            body = encode_lenient(content)
        return Asking(method.encode(), uri.encode("ascii"), tuple(headers), body, largest)

    async def _ask(self, destination: str, asking: Asking) -> Answered:
        """The first answer that any of the server's targets gives."""
        failures: list[str] = []
        for target in (await self._discovery.targets(destination))[:_MOST_TARGETS]:
            try:
                return await self._exchange.ask(target, asking)
            except AnswerTooLarge as error:
                raise AnswerUnusable(destination, str(error)) from None
            except ConnectionFailed as error:
                failures.append(str(error))
            except NoAnswer as error:
                raise ServerUnreachable(destination, "; ".join([*failures, str(error)])) from None
        raise ServerUnreachable(destination, "; ".join(failures))


def _uri_of(path: str, query: Query) -> str:
    if not path.startswith("/") or not path.isascii() or any(mark in path for mark in " ?#\r\n"):
        raise ValueError(f"{path!r} is no percent-encoded path")
    return f"{path}?{urlencode(query, doseq=True, quote_via=quote)}" if query else path


def _json_of(answer: Answered, destination: str) -> Any:
    """Raises `PeerRefused`, `AnswerUnusable`."""
    if not answer.is_success:
        raise _refusal(answer, destination)
    try:
        return decode_json(answer.body)
    except (NotJson, TooDeep) as error:
        raise AnswerUnusable(destination, f"the answer cannot be read: {printable(str(error))}") from None


def _refusal(answer: Answered, destination: str) -> PeerRefused:
    try:
        body = decode_json(answer.body)
    except (NotJson, TooDeep):
        body = None
    members = body if isinstance(body, dict) else {}
    errcode, text = members.get("errcode"), members.get("error")
    return PeerRefused(
        destination,
        answer.status,
        printable(errcode) if isinstance(errcode, str) else "M_UNKNOWN",
        printable(text) if isinstance(text, str) else "",
        members,
    )
