# SPDX-License-Identifier: Apache-2.0
"""From method and path to the endpoint."""

from __future__ import annotations

import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import InvalidParam, MatrixError, MethodNotAllowed, Unrecognized
from federation.http.dispatch import Dispatch, RoutesError
from federation.http.endpoint import Call, Endpoint, Json, NoBody, Upload

V3 = "/_matrix/client/v3"
ROOM = f"{V3}/rooms/{{roomId}}"

PATHS = (
    f"GET {V3}/sync",
    f"GET {V3}/devices",
    f"GET {V3}/devices/{{deviceId}}",
    f"PUT {V3}/devices/{{deviceId}}",
    f"GET {V3}/pushrules/",
    f"GET {ROOM}/state",
    f"GET {ROOM}/state/{{eventType}}",
    f"GET {ROOM}/state/{{eventType}}/{{stateKey}}",
    f"PUT {ROOM}/state/{{eventType}}/{{stateKey}}",
    f"PUT {ROOM}/send/{{eventType}}/{{txnId}}",
    f"GET {V3}/profile/{{userId}}/{{keyName}}",
    f"GET {V3}/profile/{{userId}}/displayname/history",
    f"GET {V3}/special/fixed/{{a}}",
    f"GET {V3}/special/{{b}}/end",
    "GET /_matrix/client/versions",
    "GET /_matrix/media/v3/config",
    "GET /_matrix/federation/v1/query/{queryType}",
    "GET /_matrix/federation/v1/query/profile",
    "GET /",
)


async def answer(_call: Call) -> Json:
    """Never called here."""
    raise AssertionError


def endpoint(line: str) -> Endpoint:
    method, path = line.split(" ")
    return Endpoint(method=method, path=path, handler=answer)


DISPATCH = Dispatch(endpoint(line) for line in PATHS)


def match(line: str) -> tuple[str, dict[str, str]]:
    method, path = line.split(" ")
    found = DISPATCH.match(method.encode(), path.encode())
    return f"{found.route.endpoint.method} {found.route.endpoint.path}", found.path


@pytest.mark.parametrize(
    ("line", "path", "parameters"),
    [
        (f"GET {V3}/sync", f"GET {V3}/sync", {}),
        (f"GET {V3}/sync/", f"GET {V3}/sync", {}),
        (f"HEAD {V3}/sync", f"GET {V3}/sync", {}),
        ("GET /_matrix/client/r0/sync", f"GET {V3}/sync", {}),
        ("GET /_matrix/client/r0/sync/", f"GET {V3}/sync", {}),
        ("GET /%5Fmatrix/client/v3/s%79nc", f"GET {V3}/sync", {}),
        ("GET /_matrix/media/r0/config", "GET /_matrix/media/v3/config", {}),
        ("GET /_matrix/client/versions", "GET /_matrix/client/versions", {}),
        ("GET /", "GET /", {}),
        (f"GET {V3}/devices/", f"GET {V3}/devices", {}),
        (f"GET {V3}/devices/A", f"GET {V3}/devices/{{deviceId}}", {"deviceId": "A"}),
        (f"GET {V3}/devices/A/", f"GET {V3}/devices/{{deviceId}}", {"deviceId": "A"}),
        (f"GET {V3}/pushrules/", f"GET {V3}/pushrules/", {}),
        (f"GET {V3}/pushrules", f"GET {V3}/pushrules/", {}),
        (f"GET {V3}/rooms/!a:b/state", f"GET {ROOM}/state", {"roomId": "!a:b"}),
        (
            f"PUT {V3}/rooms/%21a%3Ab/state/m.room.name/",
            f"PUT {ROOM}/state/{{eventType}}/{{stateKey}}",
            {"roomId": "!a:b", "eventType": "m.room.name", "stateKey": ""},
        ),
        (
            f"GET {V3}/rooms/!a:b/state/m.room.name/",
            f"GET {ROOM}/state/{{eventType}}",
            {"roomId": "!a:b", "eventType": "m.room.name"},
        ),
        (
            f"GET {V3}/rooms/!a:b/state/m.room.member/@a:b",
            f"GET {ROOM}/state/{{eventType}}/{{stateKey}}",
            {"roomId": "!a:b", "eventType": "m.room.member", "stateKey": "@a:b"},
        ),
        (
            f"PUT {V3}/rooms/!a%2Fb:c/send/org.%2F%2f/1%252F2",
            f"PUT {ROOM}/send/{{eventType}}/{{txnId}}",
            {"roomId": "!a/b:c", "eventType": "org.//", "txnId": "1%2F2"},
        ),
        (
            f"PUT {V3}/rooms/a+b/send/%C3%A4/{{x}}",
            f"PUT {ROOM}/send/{{eventType}}/{{txnId}}",
            {"roomId": "a+b", "eventType": "ä", "txnId": "{x}"},
        ),
        (
            f"GET {V3}/profile/@a:b/displayname",
            f"GET {V3}/profile/{{userId}}/{{keyName}}",
            {"userId": "@a:b", "keyName": "displayname"},
        ),
        (
            f"GET {V3}/profile/@a:b/displayname/history",
            f"GET {V3}/profile/{{userId}}/displayname/history",
            {"userId": "@a:b"},
        ),
        (f"GET {V3}/special/fixed/x", f"GET {V3}/special/fixed/{{a}}", {"a": "x"}),
        (f"GET {V3}/special/other/end", f"GET {V3}/special/{{b}}/end", {"b": "other"}),
        (
            "GET /_matrix/federation/v1/query/profile",
            "GET /_matrix/federation/v1/query/profile",
            {},
        ),
        (
            "GET /_matrix/federation/v1/query/other",
            "GET /_matrix/federation/v1/query/{queryType}",
            {"queryType": "other"},
        ),
        ("GET http://test:8008/_matrix/client/versions", "GET /_matrix/client/versions", {}),
    ],
)
def test_match(line: str, path: str, parameters: dict[str, str]) -> None:
    assert match(line) == (path, parameters)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("GET /_matrix", Unrecognized),
        ("GET /_matrix/client/v2/sync", Unrecognized),
        (f"GET {V3}/sync/more", Unrecognized),
        (f"GET {V3}/sync//", Unrecognized),
        (f"GET /{V3}/sync", Unrecognized),
        (f"GET {V3}/rooms//state", Unrecognized),
        ("GET /_matrix/federation/r0/version", Unrecognized),
        ("GET *", Unrecognized),
        ("GET x", Unrecognized),
        ("GET http://test", Unrecognized),
        (f"GET {V3}/devices/%FF", InvalidParam),
        (f"GET {V3}/devices/%", InvalidParam),
        (f"GET {V3}/devices/%0", InvalidParam),
        (f"GET {V3}/devices/%zz", InvalidParam),
        (f"GET {V3}/devices/%00", InvalidParam),
        (f"GET {V3}/devices/%ED%A0%80", InvalidParam),
        ("POST /_matrix/client/versions", MethodNotAllowed),
        (f"BREW {V3}/sync", MethodNotAllowed),
        (f"get {V3}/sync", MethodNotAllowed),
    ],
)
def test_no_match(line: str, error: type[MatrixError]) -> None:
    with pytest.raises(MatrixError) as raised:
        match(line)
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        (f"DELETE {V3}/devices/A", ("GET", "HEAD", "OPTIONS", "PUT")),
        (f"POST {ROOM}/send/a/b", ("OPTIONS", "PUT")),
        ("DELETE /_matrix/client/r0/sync", ("GET", "HEAD", "OPTIONS")),
        (f"POST {V3}/pushrules", ("GET", "HEAD", "OPTIONS")),
    ],
)
def test_the_methods_of_the_path(line: str, allowed: tuple[str, ...]) -> None:
    with pytest.raises(MethodNotAllowed) as raised:
        match(line)
    assert raised.value.allowed == allowed


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
@settings(max_examples=60)
def test_any_text_is_a_parameter(text: str) -> None:
    _, parameters = match(f"PUT {V3}/rooms/{quote(text, safe='')}/send/m/{quote(text, safe='')}")
    assert parameters == {"roomId": text, "eventType": "m", "txnId": text}


@given(st.binary())
@settings(max_examples=100)
def test_any_path_is_found_or_refused(path: bytes) -> None:
    for start in (b"", b"/", V3.encode() + b"/devices/", V3.encode() + b"/rooms/"):
        with contextlib.suppress(Unrecognized, InvalidParam):
            DISPATCH.match(b"GET", start + path)


@pytest.mark.parametrize(
    "lines",
    [
        (f"GET {V3}/sync", f"GET {V3}/sync"),
        (f"GET {V3}/sync", "GET /_matrix/client/r0/sync"),
        ("GET /a/{b}", "GET /a/{c}"),
        ("GET a",),
        ("GET /a{b}",),
        ("GET /{a}b",),
        ("GET /{a}/{a}",),
        ("OPTIONS /a",),
        ("HEAD /a",),
    ],
)
def test_tables_that_contradict_themselves(lines: tuple[str, ...]) -> None:
    with pytest.raises(RoutesError):
        Dispatch(endpoint(line) for line in lines)


def test_a_path_with_and_without_slash_may_be_declared_apart() -> None:
    dispatch = Dispatch(endpoint(line) for line in ("GET /a/{b}", "GET /a/{b}/"))
    assert dispatch.match(b"GET", b"/a/x").route.endpoint.path == "/a/{b}"
    assert dispatch.match(b"GET", b"/a/x/").route.endpoint.path == "/a/{b}/"


@pytest.mark.parametrize(
    ("owner", "body", "says"),
    [("userId", NoBody, "no parameter"), ("", NoBody, "no parameter"), ("roomId", Upload, "upload")],
)
def test_an_owner_is_a_parameter_and_takes_no_upload(owner: str, body: type, says: str) -> None:
    declared = Endpoint("PUT", "/rooms/{roomId}", answer, owner=owner, body=body)
    with pytest.raises(RoutesError, match=says):
        Dispatch([declared])


@pytest.mark.parametrize(
    ("method", "declared", "repeatable"),
    [
        ("GET", None, True),
        ("PUT", None, True),
        ("DELETE", None, True),
        ("POST", None, False),
        ("POST", True, True),
        ("PUT", False, False),
    ],
)
def test_what_may_run_twice(method: str, declared: bool | None, repeatable: bool) -> None:
    assert Endpoint(method, "/a", answer, repeatable=declared).is_repeatable is repeatable
