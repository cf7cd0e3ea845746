# SPDX-License-Identifier: Apache-2.0
"""From method and path to an endpoint: a tree of dictionaries by path segments, built once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from federation.errors import MatrixError, MethodNotAllowed, Unrecognized
from federation.http.decoding import body_decoder, percent_decoded, query_decoder, utf8_text
from federation.http.endpoint import Endpoint, RawBody, Upload

# Old names that clients still use: each path below the first also answers below the second.
_ALIASES = (
    ("/_matrix/client/v3/", "/_matrix/client/r0/"),
    ("/_matrix/media/v3/", "/_matrix/media/r0/"),
)

_PATH = "The path"
_UNKNOWN = "There is no such endpoint"


class RoutesError(Exception):
    """The endpoint tables contradict themselves."""


@attrs.frozen
class Route:
    """An endpoint with what is worked out from it beforehand."""

    endpoint: Endpoint
    names: tuple[str, ...]
    """The names of the path parameters, in order."""
    decode_query: Callable[[bytes], Any]
    decode_body: Callable[[bytes], Any] | None
    """None for `RawBody` and `Upload`, which are not decoded."""


@attrs.frozen
class Match:
    """A route and the values of its path parameters."""

    route: Route
    path: dict[str, str]


class _Node:
    """What may follow a path: literal segments, a parameter, and the routes that end here."""

    __slots__ = ("literals", "parameter", "routes")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.routes: dict[bytes, Route] = {}


class Dispatch:
    """Finds the endpoint of a request.

    Literal segments go before parameters. `HEAD` finds the endpoint of `GET`. A trailing slash is ignored,
    unless a path is declared with one, or ends in a parameter that is empty then (`…/state/m.room.name/`).
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        """Raises RoutesError if two endpoints answer the same method and path, or one is malformed."""
        self._root = _Node()
        for endpoint in endpoints:
            route = _route(endpoint)
            self._insert(endpoint.path, route)
            for path, alias in _ALIASES:
                if endpoint.path.startswith(path):
                    self._insert(alias + endpoint.path.removeprefix(path), route)

    def match(self, method: bytes, path: bytes) -> Match:
        """The endpoint that answers `method` on the raw `path`.

        Raises Unrecognized, MethodNotAllowed, and InvalidParam for a segment that does not decode.
        """
        if not path.startswith(b"/"):
            path = _origin_form(path)
        # The split comes before the decoding, so that `%2F` stays within its segment.
        segments = utf8_text(path, _PATH).split("/")
        if b"%" in path:
            segments = [percent_decoded(part, _PATH) if "%" in part else part for part in segments]
        if method == b"HEAD":
            method = b"GET"
        allowed: set[bytes] = set()
        found = self._find(method, segments, allowed)
        if found is None:
            raise _refusal(allowed)
        return found

    def _find(self, method: bytes, segments: list[str], allowed: set[bytes]) -> Match | None:
        """The route of `method`; if there is none, the methods of the path are added to `allowed`."""
        slash = len(segments) > 2 and not segments[-1]
        stem = self._walk(segments[:-1] if slash else segments)
        ends: list[tuple[_Node | None, list[str]]] = list(stem)
        with_slash = [(node.literals.get(""), values) for node, values in stem]
        if slash:
            # Declared with the slash, then without it, then as an empty parameter.
            ends = [*with_slash, *ends, *((node.parameter, [*values, ""]) for node, values in stem)]
        else:
            ends += with_slash
        for node, values in ends:
            if node is not None:
                route = node.routes.get(method)
                if route is not None:
                    return Match(route, dict(zip(route.names, values, strict=True)))
                allowed.update(node.routes)
        return None

    def _walk(self, segments: list[str]) -> list[tuple[_Node, list[str]]]:
        """The nodes that `segments` lead to, those by literal segments first; nearly always one at most."""
        found: list[tuple[_Node, list[str]]] = []
        last = len(segments)
        paths: list[tuple[_Node, int, list[str]]] = [(self._root, 1, [])]
        while paths:
            node, index, values = paths.pop()
            while index < last:
                segment = segments[index]
                index += 1
                literal = node.literals.get(segment)
                if literal is None:
                    if node.parameter is None or not segment:
                        break
                    node = node.parameter
                    values.append(segment)
                else:
                    if node.parameter is not None and segment:
                        paths.append((node.parameter, index, [*values, segment]))
                    node = literal
            else:
                found.append((node, values))
        return found

    def _insert(self, path: str, route: Route) -> None:
        node = self._root
        for segment in path.split("/")[1:]:
            if segment.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        method = route.endpoint.method.encode()
        if method in node.routes:
            other = node.routes[method].endpoint
            raise RoutesError(f"{route.endpoint.method} {path} is declared twice, as {other.path} too")
        node.routes[method] = route


def _origin_form(target: bytes) -> bytes:
    """The path of a request target that is a whole URI (RFC 9112, 3.2.2). Raises Unrecognized."""
    scheme, _, rest = target.partition(b"://")
    if scheme.lower() not in (b"http", b"https") or b"/" not in rest:
        raise Unrecognized(_UNKNOWN)
    return b"/" + rest.partition(b"/")[2]


def _route(endpoint: Endpoint) -> Route:
    if not endpoint.path.startswith("/"):
        raise RoutesError(f"{endpoint.path}: a path begins with a slash")
    if endpoint.method not in ("GET", "PUT", "POST", "DELETE", "PATCH"):
        raise RoutesError(f"{endpoint.path}: the method {endpoint.method} is not served")
    names = []
    for segment in endpoint.path.split("/"):
        if segment.startswith("{") and segment.endswith("}"):
            names.append(segment[1:-1])
        elif "{" in segment or "}" in segment:
            raise RoutesError(f"{endpoint.path}: a parameter takes a whole segment")
    if len(set(names)) < len(names):
        raise RoutesError(f"{endpoint.path}: a parameter is named twice")
    if endpoint.owner is not None:
        _check_owner(endpoint, names)
    body: Any = endpoint.body
    return Route(
        endpoint=endpoint,
        names=tuple(names),
        decode_query=query_decoder(endpoint.query),
        decode_body=None if body in (RawBody, Upload) else body_decoder(body),
    )


def _check_owner(endpoint: Endpoint, names: list[str]) -> None:
    if endpoint.owner not in names:
        raise RoutesError(f"{endpoint.path}: the owner {endpoint.owner} is no parameter of the path")
    if endpoint.body is Upload:
        raise RoutesError(f"{endpoint.path}: an upload is not handed to another process, it has no owner")


def _refusal(allowed: set[bytes]) -> MatrixError:
    if not allowed:
        return Unrecognized(_UNKNOWN)
    methods = {method.decode() for method in allowed} | {"OPTIONS"}
    if "GET" in methods:
        methods.add("HEAD")
    return MethodNotAllowed("The endpoint does not know this method", allowed=tuple(sorted(methods)))
