# SPDX-License-Identifier: Apache-2.0
"""Who signed a request from another server.

spec: server-server-api, "Request Authentication"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import attrs

from federation.errors import Forbidden, Unauthorized
from federation.http.endpoint import Request
from federation.rules.canonical_json import decode_json
from federation.rules.errors import InvalidIdentifier, InvalidSignature, NotCanonicalJson
from federation.rules.identifiers import MAX_LENGTH, parse_server_name
from federation.rules.key_validity import PublishedKey
from federation.rules.signing import verify_json
from storage.runtime.clock import Clock, milliseconds

_LONGEST_HEADER = 4096
_MOST_HEADERS = 10
"""A server that has several keys may sign with each, in a header of its own."""

_SCHEME = re.compile(r"x-matrix +", re.IGNORECASE)
# A token of RFC 9110, 5.6.2. COMPAT: older servers do not quote values with colons.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(
    rf"(?P<name>{_TOKEN})[ \t]*=[ \t]*"
    rf"(?:\"(?P<quoted>(?:[^\"\\]|\\.)*+)\"|(?P<plain>[:!#$%&'*+.^_`|~0-9A-Za-z-]+))[ \t]*(?:,|\Z)"
)
_NOTHING = re.compile(r"[ \t]*(?:,[ \t]*)*")
_ESCAPED = re.compile(r"\\(.)")


class Keys(Protocol):
    """Where keys come from: `federation.keys.key_ring.KeyRing`."""

    async def keys_of(
        self, server_name: str, key_ids: Collection[str], *, valid_at: int | None
    ) -> Mapping[str, PublishedKey]:
        """Those of the keys that are known, some of which may not count at `valid_at`."""


@attrs.frozen
class Credentials:
    """What one `Authorization` header says. `destination` is None where an older server leaves it out."""

    origin: str
    destination: str | None
    key_id: str
    signature: str


def parse_credentials(header: bytes) -> Credentials | None:
    """Read a header `Authorization`; None if its scheme is another than X-Matrix. Raises Unauthorized."""
    text = header.decode("latin-1")
    scheme = _SCHEME.match(text)
    if scheme is None:
        return None
    if len(text) > _LONGEST_HEADER:
        raise Unauthorized("The Authorization header is too long")
    parameters = _parameters(text, scheme.end())
    # The prose of the specification calls it `signature`, the example `sig`, which is what servers send.
    signature = parameters.get("sig", parameters.get("signature"))
    origin, key_id = parameters.get("origin"), parameters.get("key")
    if not origin or not key_id or not signature:
        raise Unauthorized("The Authorization header needs origin, key and sig")
    return Credentials(origin, parameters.get("destination"), key_id, signature)


def _parameters(text: str, start: int) -> dict[str, str]:
    found: dict[str, str] = {}
    at = _skip(text, start)
    while at < len(text):
        parameter = _PARAMETER.match(text, at)
        if parameter is None:
            raise Unauthorized("The Authorization header is no list of name=value")
        name, quoted = parameter["name"].lower(), parameter["quoted"]
        if name in found:
            raise Unauthorized(f"The Authorization header has {name} twice")
        found[name] = parameter["plain"] if quoted is None else _ESCAPED.sub(r"\1", quoted)
        at = _skip(text, parameter.end())
    return found


def _skip(text: str, at: int) -> int:
    """The place behind white space and empty elements of the list (RFC 9110, 5.6.1)."""
    nothing = _NOTHING.match(text, at)
    return at if nothing is None else nothing.end()


def signed_object(*, method: str, uri: str, origin: str, destination: str, content: bytes) -> dict[str, Any]:
    """What is signed of a request, without the signatures. Raises `NotJson`, `TooDeep`."""
    signed = {"method": method, "uri": uri, "origin": origin, "destination": destination}
    return {**signed, "content": decode_json(content)} if content else signed


class RequestSignatures:
    """Finds the server that signed a request. `allows` says which servers are spoken with."""

    def __init__(
        self,
        *,
        server_name: str,
        keys: Keys,
        clock: Clock,
        allows: Callable[[str], bool] = lambda _name: True,
    ) -> None:
        self._server_name = server_name
        self._keys = keys
        self._clock = clock
        self._allows = allows

    async def origin_of(self, request: Request) -> str:
        """The name of the server whose signature the request bears.

        Raises Unauthorized; Forbidden for a server that is not spoken with; `NotJson` and `TooDeep` for a
        signed body that is no JSON.
        """
        given = self._credentials(request)
        origin = given[0].origin
        keys = await self._valid_keys(origin, {one.key_id for one in given})
        try:
            signed = signed_object(
                method=request.method.decode("ascii"),
                uri=request.uri.decode("ascii"),
                origin=origin,
                destination=self._server_name,
                content=request.body(),
            )
            signed["signatures"] = {origin: {one.key_id: one.signature for one in given}}
            verify_json(signed, origin, keys)
        except (InvalidSignature, NotCanonicalJson) as error:
            raise Unauthorized(f"The request is not signed as it must be: {error}") from None
        except UnicodeDecodeError:
            raise Unauthorized("The request is not signed as it must be: the target is not ASCII") from None
        return origin

    def _credentials(self, request: Request) -> Sequence[Credentials]:
        """All signatures on the request, at least one, of one server."""
        headers = request.requestHeaders.getRawHeaders(b"Authorization", ())
        if len(headers) > _MOST_HEADERS:
            raise Unauthorized("There are too many Authorization headers")
        given = [one for one in map(parse_credentials, headers) if one is not None]
        if not given:
            raise Unauthorized("The request must be signed: it has no header Authorization: X-Matrix")
        if len({one.origin for one in given}) > 1:
            raise Unauthorized("The Authorization headers name several origins")
        for one in given:
            if one.destination is not None and one.destination != self._server_name:
                raise Unauthorized(f"The request is for {one.destination}, this is {self._server_name}")
        self._check_origin(given[0].origin)
        return given

    def _check_origin(self, origin: str) -> None:
        try:
            parse_server_name(origin)
        except InvalidIdentifier as error:
            raise Unauthorized(f"The origin of the request: {error}") from None
        if len(origin) > MAX_LENGTH:
            raise Unauthorized("The origin of the request is too long")
        if origin == self._server_name:
            raise Unauthorized("The origin of the request is this server itself")
        if not self._allows(origin):
            raise Forbidden(f"This server does not speak with {origin}")

    async def _valid_keys(self, origin: str, key_ids: Collection[str]) -> dict[str, bytes]:
        """Those of the keys that count now. Raises Unauthorized where there are none."""
        now = milliseconds(self._clock)
        found = await self._keys.keys_of(origin, key_ids, valid_at=now)
        valid = {key_id: key.key for key_id, key in found.items() if key.valid_until_ts >= now}
        if not valid:
            raise Unauthorized(f"There is no valid key of {origin} with the id that the request names")
        return valid
