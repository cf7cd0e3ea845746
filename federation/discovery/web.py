# SPDX-License-Identifier: Apache-2.0
"""Reading a page over HTTPS, redirects followed."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urljoin, urlsplit

from federation.discovery.target import Target
from federation.rules.errors import InvalidIdentifier
from federation.rules.identifiers import parse_server_name
from federation.transport.errors import ConnectionFailed
from federation.transport.exchange import Answered, Asking, Exchange
from federation.transport.reasons import printable

MOST_REDIRECTS = 5

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_URL = re.compile(r"[\x21-\x7e]{1,2048}")


class Web:
    """GET of pages that servers publish for each other; to no place where `exchange` may not go."""

    def __init__(self, *, exchange: Exchange, user_agent: str) -> None:
        self._exchange = exchange
        self._headers = ((b"User-Agent", user_agent.encode("ascii")), (b"Accept", b"application/json"))

    async def get(self, url: str, largest: int) -> Answered:
        """The answer, of any status but a redirect's; `largest` is in bytes.

        Only https is followed. Raises `ConnectionFailed`, also for redirects that lead nowhere, in a circle
        or too far; `NoAnswer`; `AnswerTooLarge`.
        """
        seen: set[str] = set()
        while url not in seen and len(seen) <= MOST_REDIRECTS:
            seen.add(url)
            target, uri = _place_of(url)
            answer = await self._exchange.ask(
                target, Asking(b"GET", uri, headers=self._headers, largest=largest)
            )
            if answer.status not in _REDIRECTS:
                return answer
            url = _redirected(url, answer)
        raise ConnectionFailed(
            "it is redirected in a circle" if url in seen else "it is redirected too often"
        )


def _place_of(url: str) -> tuple[Target, bytes]:
    """Where a URL leads, and the path and query to ask for."""
    try:
        parts: SplitResult = urlsplit(url)
        place = parse_server_name(parts.netloc)
    except (ValueError, InvalidIdentifier):
        raise ConnectionFailed(f"{printable(url)} is no URL that is followed") from None
    if parts.scheme != "https" or not _URL.fullmatch(url) or not 0 < (place.port or 443) < 65536:
        raise ConnectionFailed(f"{printable(url)} is no URL that is followed")
    port = 443 if place.port is None else place.port
    uri = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(place.host, port, parts.netloc.encode("ascii"), place.host), uri.encode("ascii")


def _redirected(url: str, answer: Answered) -> str:
    location = answer.headers.getRawHeaders(b"Location", [b""])[0]
    if not location:
        raise ConnectionFailed("it is redirected nowhere")
    try:
        return urljoin(url, location.decode("ascii")).partition("#")[0]
    except ValueError:
        raise ConnectionFailed("it is redirected to no URL") from None
