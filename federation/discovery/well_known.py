# SPDX-License-Identifier: Apache-2.0
"""`/.well-known/matrix/server`: who serves a domain. spec: server-server-api, "Resolving server names", 3."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.web.http_headers import Headers

from federation.discovery.joined import JoinedAsks
from federation.discovery.web import Web
from federation.rules.canonical_json import decode_json
from federation.rules.errors import RuleError
from federation.rules.identifiers import parse_server_name
from federation.transport.errors import AnswerTooLarge, ConnectionFailed, NoAnswer
from federation.transport.exchange import Answered
from storage.runtime.caches import Cache, cache_of_entries

LARGEST = 50 * 1024  # bytes
FETCH_SECONDS = 12.0

SHORTEST_SECONDS = 5 * 60
DEFAULT_SECONDS = 24 * 3600
LONGEST_SECONDS = 48 * 3600
"""How long an answer is kept: at least, without a word from the server, at most."""

FIRST_ERROR_SECONDS = 60
LONGEST_ERROR_SECONDS = 3600
"""How long an error is kept: after the first one, doubled with each, at most."""

MOST_KEPT = 10_000  # domains

_NUMBER = re.compile(r"[0-9]{1,10}")


@attrs.frozen
class _Kept:
    """What is known of a domain: its server (None: it names none), until when it is not asked again, how many
    errors there were in a row, and until when the server counts where the domain cannot be reached."""

    server: str | None
    until: float
    errors: int = 0
    usable_until: float = 0


class WellKnown:
    """Asks domains for the name of their server, and remembers it. `port` is that of HTTPS."""

    def __init__(
        self, *, web: Web, reactor: Any, port: int = 443, fetch_seconds: float = FETCH_SECONDS
    ) -> None:
        self._web = web
        self._reactor = reactor
        self._at_port = "" if port == 443 else f":{port}"
        self._fetch_seconds = fetch_seconds
        self.kept: Cache[str, _Kept] = cache_of_entries(MOST_KEPT)
        self._joined: JoinedAsks[str, _Kept] = JoinedAsks()

    async def server_of(self, host: str) -> str | None:
        """The server name that `host` delegates to, well-formed; None: there is no valid answer."""
        host = host.lower()
        kept = self.kept.get(host)
        if kept is None or kept.until <= self._reactor.seconds():
            kept = await self._joined.ask(host, lambda: self._ask(host, kept))
        return kept.server

    def close(self) -> None:
        """Stop asking."""
        self._joined.close()

    async def _ask(self, host: str, before: _Kept | None) -> _Kept:
        url = f"https://{host}{self._at_port}/.well-known/matrix/server"
        fetched = Deferred.fromCoroutine(self._web.get(url, LARGEST))
        try:
            answer: Answered | None = await fetched.addTimeout(self._fetch_seconds, self._reactor)
        except (ConnectionFailed, NoAnswer, AnswerTooLarge, DeferredTimeout):
            answer = None
        kept = self.kept[host] = self._judged(answer, before)
        return kept

    def _judged(self, answer: Answered | None, before: _Kept | None) -> _Kept:
        now = self._reactor.seconds()
        server = None if answer is None else server_in(answer)
        if answer is not None and server is not None:
            seconds = seconds_to_keep(answer.headers, now)
            return _Kept(server, now + seconds, usable_until=now + LONGEST_SECONDS)
        errors = 1 if before is None else before.errors + 1
        until = now + min(FIRST_ERROR_SECONDS * 2 ** min(errors - 1, 10), LONGEST_ERROR_SECONDS)
        is_away = answer is None or answer.status >= 500
        if is_away and before is not None and now < before.usable_until:
            # The domain has its web server down; that moves nobody's Matrix server.
            return attrs.evolve(before, until=min(until, before.usable_until), errors=errors)
        return _Kept(None, until, errors=errors)


def server_in(answer: Answered) -> str | None:
    """The `m.server` of an answer with status 200; None: the answer is not valid."""
    if answer.status != 200:
        return None
    try:
        members = decode_json(answer.body)
        server = members.get("m.server") if isinstance(members, dict) else None
        if not isinstance(server, str):
            return None
        name = parse_server_name(server)
    except RuleError:
        return None
    return server if name.port is None or 0 < name.port < 65536 else None


def seconds_to_keep(headers: Headers, now: float) -> float:
    """How long an answer holds by its Cache-Control, Expires and Age, within this server's bounds."""
    directives = _directives(headers)
    if "no-store" in directives or "no-cache" in directives:
        return SHORTEST_SECONDS
    age = _seconds(_first(headers, b"Age")) or 0
    seconds: float | None = _seconds(directives.get("max-age", ""))
    if seconds is None:
        seconds = _until_expiry(headers, now)
    if seconds is None:
        return DEFAULT_SECONDS
    return min(max(seconds - age, SHORTEST_SECONDS), LONGEST_SECONDS)


def _directives(headers: Headers) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for line in headers.getRawHeaders(b"Cache-Control", []):
        for directive in line.decode("latin-1").split(","):
            name, _, value = directive.strip().partition("=")
            found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def _until_expiry(headers: Headers, now: float) -> float | None:
    """A date that cannot be read has passed. spec: RFC 9111, 5.3."""
    text = _first(headers, b"Expires")
    if not text:
        return None
    try:
        return parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return 0


def _first(headers: Headers, name: bytes) -> str:
    return headers.getRawHeaders(name, [b""])[0].decode("latin-1").strip()


def _seconds(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None
