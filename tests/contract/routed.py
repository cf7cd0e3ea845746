# SPDX-License-Identifier: Apache-2.0
"""The endpoints that a server routes, held against the operations of the specification."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs
import msgspec

from federation.http.endpoint import Auth, Endpoint, NoBody, NoQuery, RawBody, Upload
from tests.contract.operations import PATH_PARAMETER, Extract, Operation, Schema

SPECIFIED_PREFIXES = (
    "/_matrix/client/",
    "/_matrix/media/",
    "/_matrix/federation/",
    "/_matrix/key/",
    "/_matrix/policy/",
    "/.well-known/",
)

AUTH_OF = {
    "none": Auth.NONE,
    "token": Auth.REQUIRED,
    "as_token": Auth.REQUIRED,
    "token?": Auth.OPTIONAL,
    "signed": Auth.SERVER,
}
"""What the endpoint record says for each kind of authentication."""


def shape(method: str, path: str) -> str:
    """The route without the parameters' names and without a trailing slash, which makes no difference."""
    return f"{method} {PATH_PARAMETER.sub('{}', path).rstrip('/')}"


def by_shape(endpoints: Iterable[Endpoint]) -> dict[str, Endpoint]:
    """Return the endpoints by the shape of their route; raises `ValueError` if two have the same."""
    routed: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        name = shape(endpoint.method, endpoint.path)
        if name in routed:
            raise ValueError(f"routed twice: {name}")
        routed[name] = endpoint
    return routed


@attrs.frozen
class Exceptions:
    """Where a server is known to differ; the fields are those of `not_yet.py`, `not_yet` without areas."""

    not_yet: frozenset[str] = frozenset()
    beyond: frozenset[str] = frozenset()
    query_not_yet: Mapping[str, Collection[str]] = attrs.field(factory=dict)
    body_not_yet: Mapping[str, Collection[str]] = attrs.field(factory=dict)
    other_auth: Collection[str] = frozenset()


def differences(endpoints: Iterable[Endpoint], extract: Extract, exceptions: Exceptions) -> list[str]:
    """Return in what the routed endpoints differ from the specification and its known exceptions."""
    routed = by_shape(endpoints)
    gone = sorted(exceptions.not_yet - extract.operations.keys())
    found = [f"{name} is listed as not yet routed, and is no operation" for name in gone]
    for operation in extract.operations.values():
        endpoint = routed.get(shape(operation.method, operation.path))
        listed = operation.name in exceptions.not_yet
        if endpoint is None and not listed:
            found.append(f"{operation.name} is neither routed nor listed as not yet routed")
        elif endpoint is not None and listed:
            found.append(f"{operation.name} is routed, and listed as not yet routed")
        elif endpoint is not None:
            what = _endpoint_differences(endpoint, operation, extract, exceptions)
            found += [f"{operation.name} {difference}" for difference in what]
    return found + _beyond(routed, extract, exceptions.beyond)


def _beyond(routed: Mapping[str, Endpoint], extract: Extract, beyond: Collection[str]) -> list[str]:
    specified = {shape(operation.method, operation.path) for operation in extract.operations.values()}
    return [
        f"{endpoint.method} {endpoint.path} is routed and not in the specification"
        for name, endpoint in routed.items()
        if endpoint.path.startswith(SPECIFIED_PREFIXES)
        and "/unstable/" not in endpoint.path
        and name not in specified
        and f"{endpoint.method} {endpoint.path}" not in beyond
    ]


def _endpoint_differences(
    endpoint: Endpoint, operation: Operation, extract: Extract, exceptions: Exceptions
) -> list[str]:
    found = []
    names, specified = PATH_PARAMETER.findall(endpoint.path), PATH_PARAMETER.findall(operation.path)
    if names != specified:
        found.append(f"has the path parameters {names}, not {specified}")
    if endpoint.auth is not AUTH_OF[operation.auth] and operation.name not in exceptions.other_auth:
        found.append(f"has {endpoint.auth}, not {AUTH_OF[operation.auth]}")
    queries = {parameter.name for parameter in operation.in_place("query")}
    found += _unread(
        "query parameter", queries, endpoint.query, exceptions.query_not_yet.get(operation.name, ())
    )
    members = member_names(operation.body or {}, extract.definitions)
    found += _unread("member", members, endpoint.body, exceptions.body_not_yet.get(operation.name, ()))
    return found


def _unread(kind: str, specified: Collection[str], reader: Any, not_yet: Collection[str]) -> list[str]:
    read = field_names(reader)
    if read is None:
        return []
    missing = sorted(set(specified) - read - set(not_yet))
    early = sorted(read & set(not_yet))
    found = [f"does not read the {kind} {name!r}" for name in missing]
    return found + [f"reads the {kind} {name!r}, which is listed as not yet read" for name in early]


def field_names(reader: Any) -> set[str] | None:
    """Return the names that a class of the endpoint records reads; None if it keeps what comes."""
    if reader in (NoQuery, NoBody):
        return set()
    if reader in (RawBody, Upload):
        return None
    if isinstance(reader, type) and issubclass(reader, msgspec.Struct):
        return set(reader.__struct_encode_fields__)
    if attrs.has(reader):
        return {re.sub("_$", "", field.name) for field in attrs.fields(reader)}
    return None


def member_names(schema: Schema, definitions: Mapping[str, Schema]) -> set[str]:
    """Return the names of the members that an object of this schema may have, as far as they are named."""
    if "$ref" in schema:
        return member_names(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    names = set(schema.get("properties", ()))
    for keyword in ("allOf", "anyOf", "oneOf"):
        names = names.union(*(member_names(below, definitions) for below in schema.get(keyword, ())))
    return names
