# SPDX-License-Identifier: Apache-2.0
"""Requests over the wire: admission, decoding, answers, and what every answer carries."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import AsyncIterator, Iterator
from http.client import IncompleteRead
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from federation.errors import Forbidden, LimitExceeded, NotFound, UnknownDevice
from federation.http.endpoint import (
    Auth,
    Call,
    Content,
    Endpoint,
    Json,
    JsonObject,
    JsonStream,
    Page,
    RawBody,
    RawJson,
    Redirect,
    Request,
    Requester,
    Upload,
)
from storage.engine.errors import DatabaseUnavailable
from tests.support.http import ALICE, TOKENS, Client, Server, serve

V3 = "/_matrix/client/v3"
KIB = 1024
GUEST = Requester(user_id="@guest:test", user=3, is_guest=True)
LOCKED = Requester(user_id="@locked:test", user=4, is_locked=True)
BRIDGE = Requester(user_id="@bridge:test", user=5, app_service="irc")


@attrs.frozen
class Since:
    """A query."""

    since: str | None = None
    limit: int = 10


@attrs.frozen
class Named:
    """A body."""

    name: str


async def whoami(call: Call) -> Json:
    """Answers who asks."""
    requester = call.requester
    return Json({"user_id": requester.user_id if requester is not None else None})


async def echo(call: Call[Since, JsonObject]) -> Json:
    """Answers what it was given."""
    return Json(
        {
            "user": call.user.user_id,
            "path": call.path,
            "since": call.query.since,
            "limit": call.query.limit,
            "body": call.body,
        }
    )


async def name(call: Call[Since, Named]) -> Json:
    """Answers the name, later."""
    await next_turn()
    return Json({"name": call.body.name}, status=201, headers=(("X-Name", "a\r\nX-Injected: b"),))


async def raw(call: Call[Since, RawBody]) -> Json:
    """Answers the length of a body."""
    assert call.request.body() == call.body.content
    return Json({"length": len(call.body.content)})


async def upload(call: Call[Since, Upload]) -> Json:
    """Answers what was uploaded."""
    content = call.body.file.read()
    assert len(content) == call.body.length
    return Json({"length": len(content), "sha256": hashlib.sha256(content).hexdigest()})


async def request(call: Call) -> Json:
    """Answers about the HTTP request."""
    return Json({"address": call.request.client_address, "agent": call.request.header("User-Agent")})


async def encoded(_call: Call) -> RawJson:
    """Answers JSON that is encoded already."""
    return RawJson(b'{"a": 1}')


async def large(call: Call) -> Json:
    """Answers as much as was asked for."""
    return Json({"text": "0123456789abcdef" * (int(call.path["kib"]) * 64)})


async def page(_call: Call) -> Page:
    """Answers a page."""
    return Page("<p>ä</p>")


async def redirect(_call: Call) -> Redirect:
    """Answers another place."""
    return Redirect("https://example.org/?a=b")


async def content(call: Call) -> Content:
    """Answers bytes of another type."""
    kind = call.path["kind"]
    if kind == "known":
        return Content("image/png", b"\x89PNG" * 1000)
    if kind == "parts":
        return Content("image/png", byte_parts(), length=4000)
    if kind == "unknown":
        return Content("image/png", byte_parts())
    return Content("image/png", byte_parts(), length=int(kind))


async def byte_parts() -> AsyncIterator[bytes]:
    """4,000 bytes."""
    for _ in range(1000):
        yield b"\x89PNG"


async def stream(call: Call) -> JsonStream:
    """Answers in parts."""
    return JsonStream(json_parts(call.path["kind"]))


async def json_parts(kind: str) -> AsyncIterator[bytes]:
    """JSON in parts, or an error before or after the first."""
    if kind == "refused":
        raise NotFound("not here")
    if kind == "empty":
        return
    yield b'{"items": ['
    for number in range(5000):
        yield b"%d," % number
        if number % 1000 == 0:
            await next_turn()
        if kind == "broken" and number == 2500:
            raise ZeroDivisionError
    yield b"0]}"


async def fails(call: Call) -> Json:
    """Fails."""
    kind = call.path["kind"]
    if kind == "forbidden":
        raise Forbidden("You are not in this room")
    if kind == "database":
        raise DatabaseUnavailable("postgres at secret:5432 is down")
    if kind == "later":
        await next_turn()
        raise ZeroDivisionError("secret")
    if kind == "cancelled":
        waiting: Deferred[None] = Deferred()
        reactor.callLater(0, waiting.cancel)
        await waiting
    if kind == "encoding":
        return Json({"value": object()})
    if kind == "surrogate":
        return Json({"value": "\ud800"})
    raise ZeroDivisionError("secret")


def next_turn() -> Deferred[None]:
    """Fires when the reactor has looked after everybody else."""
    turn: Deferred[None] = Deferred()
    reactor.callLater(0, turn.callback, None)
    return turn


ENDPOINTS = (
    Endpoint("GET", f"{V3}/whoami", whoami),
    Endpoint("GET", f"{V3}/guests", whoami, guests=True),
    Endpoint("POST", f"{V3}/logout", whoami, while_locked=True),
    Endpoint("GET", f"{V3}/public", whoami, auth=Auth.NONE),
    Endpoint("GET", f"{V3}/optional", whoami, auth=Auth.OPTIONAL),
    Endpoint("GET", f"{V3}/limited", whoami, limit="reads"),
    Endpoint("GET", f"{V3}/limited/public", whoami, auth=Auth.NONE, limit="reads"),
    Endpoint("PUT", f"{V3}/rooms/{{roomId}}/send/{{txnId}}", echo, query=Since, body=JsonObject),
    Endpoint("POST", f"{V3}/name", name, body=Named, max_body=100),
    Endpoint("POST", f"{V3}/raw", raw, body=RawBody),
    Endpoint("POST", f"{V3}/upload", upload, body=Upload, max_body=4 * KIB * KIB),
    Endpoint("GET", f"{V3}/request", request),
    Endpoint("GET", f"{V3}/encoded", encoded),
    Endpoint("GET", f"{V3}/large/{{kib}}", large),
    Endpoint("GET", f"{V3}/page", page),
    Endpoint("GET", f"{V3}/redirect", redirect),
    Endpoint("GET", f"{V3}/content/{{kind}}", content),
    Endpoint("GET", f"{V3}/stream/{{kind}}", stream),
    Endpoint("GET", f"{V3}/fails/{{kind}}", fails),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    tokens = {**TOKENS, "guest": GUEST, "locked": LOCKED, "bridge": BRIDGE}
    with serve(ENDPOINTS, tokens=tokens, limit=limit_bob, assume=assume) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Client:
    return server.client()


def limit_bob(name: str, who: Requester | str) -> None:
    """Bob has made too many requests, and so has 127.0.0.1."""
    assert name == "reads"
    if who == "127.0.0.1" or (isinstance(who, Requester) and who.user_id == "@bob:test"):
        raise LimitExceeded(retry_after_ms=2500)


async def assume(requester: Requester, user_id: str | None, device_id: str | None) -> Requester:
    """The bridge may be anybody whose name begins with `irc_`."""
    await next_turn()
    user_id = user_id or requester.user_id
    if device_id == "NONE":
        raise UnknownDevice(f"{user_id} has no device {device_id}")
    if user_id != requester.user_id and not user_id.startswith("@irc_"):
        raise Forbidden(f"{user_id} does not belong to the application service")
    return Requester(user_id=user_id, user=6, device_id=device_id, app_service=requester.app_service)


@pytest.mark.parametrize(
    ("path", "headers", "status", "user_or_errcode"),
    [
        ("whoami", {"Authorization": "Bearer alice"}, 200, "@alice:test"),
        ("whoami", {"Authorization": "bearer   alice "}, 200, "@alice:test"),
        ("whoami?access_token=alice", {}, 200, "@alice:test"),
        ("whoami?a=b&access_token=%61lice", {}, 200, "@alice:test"),
        ("whoami?access_token=bob", {"Authorization": "Bearer alice"}, 200, "@alice:test"),
        ("whoami", {}, 401, "M_MISSING_TOKEN"),
        ("whoami?access_token=", {}, 401, "M_MISSING_TOKEN"),
        ("whoami?not_access_token=alice", {}, 401, "M_MISSING_TOKEN"),
        ("whoami", {"Authorization": "Bearer"}, 401, "M_MISSING_TOKEN"),
        ("whoami", {"Authorization": "Bearer "}, 401, "M_MISSING_TOKEN"),
        ("whoami", {"Authorization": "Basic YWxpY2U6YQ=="}, 401, "M_MISSING_TOKEN"),
        ("whoami", {"Authorization": "X-Matrix origin=a"}, 401, "M_MISSING_TOKEN"),
        ("whoami", {"Authorization": "Bearer nobody"}, 401, "M_UNKNOWN_TOKEN"),
        ("whoami", {"Authorization": "Bearer alic\xe9"}, 401, "M_UNKNOWN_TOKEN"),
        ("whoami", {"Authorization": "Bearer " + "a" * 5000}, 401, "M_UNKNOWN_TOKEN"),
        ("whoami?access_token=%FF", {}, 400, "M_INVALID_PARAM"),
        ("public", {}, 200, None),
        ("public", {"Authorization": "Bearer nobody"}, 200, None),
        ("optional", {}, 200, None),
        ("optional", {"Authorization": "Bearer alice"}, 200, "@alice:test"),
        ("optional", {"Authorization": "Bearer nobody"}, 401, "M_UNKNOWN_TOKEN"),
        ("whoami", {"Authorization": "Bearer guest"}, 403, "M_GUEST_ACCESS_FORBIDDEN"),
        ("guests", {"Authorization": "Bearer guest"}, 200, "@guest:test"),
        ("whoami", {"Authorization": "Bearer locked"}, 401, "M_USER_LOCKED"),
        ("limited", {"Authorization": "Bearer alice"}, 200, "@alice:test"),
        ("limited", {"Authorization": "Bearer bob"}, 429, "M_LIMIT_EXCEEDED"),
        ("limited", {"Authorization": "Bearer nobody"}, 401, "M_UNKNOWN_TOKEN"),
        ("limited/public", {}, 429, "M_LIMIT_EXCEEDED"),
        ("whoami", {"Authorization": "Bearer bridge"}, 200, "@bridge:test"),
        ("whoami?user_id=%40irc_a", {"Authorization": "Bearer bridge"}, 200, "@irc_a"),
        ("whoami?user_id=%40alice", {"Authorization": "Bearer bridge"}, 403, "M_FORBIDDEN"),
        ("whoami?device_id=NONE", {"Authorization": "Bearer bridge"}, 400, "M_UNKNOWN_DEVICE"),
        ("whoami?user_id=%40irc_a", {"Authorization": "Bearer alice"}, 200, "@alice:test"),
    ],
)
def test_admission(
    server: Server, path: str, headers: dict[str, str], status: int, user_or_errcode: str | None
) -> None:
    answer = server.client(None).get(f"{V3}/{path}", headers=headers)
    assert answer.status == status
    assert answer.json["user_id" if status == 200 else "errcode"] == user_or_errcode


def test_a_locked_account_may_log_out(server: Server) -> None:
    assert server.client("locked").post(f"{V3}/logout").json == {"user_id": "@locked:test"}
    assert server.client("locked").get(f"{V3}/whoami").json["soft_logout"] is True


def test_a_limit_says_when_to_try_again(server: Server) -> None:
    answer = server.client("bob").get(f"{V3}/limited")
    assert answer.headers["retry-after"] == "3"
    assert answer.json["retry_after_ms"] == 2500


def test_seen_is_told_of_requests_with_a_token() -> None:
    seen: list[tuple[str, str]] = []

    def note(requester: Requester, request: Request) -> None:
        seen.append((requester.user_id, request.client_address))

    with serve(ENDPOINTS, seen=note) as server:
        server.client().get(f"{V3}/whoami")
        server.client(None).get(f"{V3}/public")
    assert seen == [("@alice:test", "127.0.0.1")]


def test_a_handler_gets_what_was_sent(client: Client) -> None:
    answer = client.put(f"{V3}/rooms/%21a%2Fb/send/1?since=s&limit=5", {"body": "ä"})
    assert answer.status == 200
    assert answer.json == {
        "user": "@alice:test",
        "path": {"roomId": "!a/b", "txnId": "1"},
        "since": "s",
        "limit": 5,
        "body": {"body": "ä"},
    }


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "\xff"],
)
@pytest.mark.parametrize("path", ["name", "raw"])
def test_the_content_type_of_a_body_does_not_matter(client: Client, content_type: str, path: str) -> None:
    body = b'{"name": "a=b&c=d"}'
    answer = client.post(f"{V3}/{path}", body=body, headers={"Content-Type": content_type})
    assert answer.json in ({"name": "a=b&c=d"}, {"length": len(body)})


@pytest.mark.parametrize(
    ("path", "body", "status", "errcode", "says"),
    [
        ("name", b"{", 400, "M_NOT_JSON", ""),
        ("name", b"", 400, "M_NOT_JSON", "empty"),
        ("name", b"{}", 400, "M_MISSING_PARAM", "name"),
        ("name", b'{"name": 1}', 400, "M_BAD_JSON", "name"),
        ("name", b"[" * 90, 400, "M_NOT_JSON", ""),
        ("name", b" " * 101, 413, "M_TOO_LARGE", "100 bytes"),
        ("raw", b" " * (KIB * KIB + 1), 413, "M_TOO_LARGE", "1048576 bytes"),
        ("raw", b" " * (8 * KIB * KIB), 413, "M_TOO_LARGE", "1048576 bytes"),
        ("upload", b" " * (4 * KIB * KIB + 1), 413, "M_TOO_LARGE", ""),
        ("nothing", b" " * (2 * KIB * KIB), 404, "M_UNRECOGNIZED", ""),
    ],
)
def test_body_refused(client: Client, path: str, body: bytes, status: int, errcode: str, says: str) -> None:
    answer = client.post(f"{V3}/{path}", body=body)
    assert (answer.status, answer.errcode) == (status, errcode)
    assert says in answer.json["error"]


def test_an_empty_body_is_an_empty_object(client: Client) -> None:
    assert client.put(f"{V3}/rooms/a/send/1").json["body"] == {}


@pytest.mark.parametrize("length", [0, 1, 64 * KIB, 64 * KIB + 1, KIB * KIB])
def test_a_raw_body(client: Client, length: int) -> None:
    assert client.post(f"{V3}/raw", body=b"x" * length).json == {"length": length}


@pytest.mark.parametrize("length", [0, 1, 64 * KIB, 64 * KIB + 1, 4 * KIB * KIB])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload(client: Client, length: int, chunked: bool) -> None:
    body = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    options: dict[str, object] = {"body": body}
    if chunked:
        chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:1000], body[1000:]) if part]
        options = {"body": b"".join([*chunks, b"0\r\n\r\n"]), "headers": {"Transfer-Encoding": "chunked"}}
    answer = client.post(f"{V3}/upload", **options)
    assert answer.json == {"length": length, "sha256": hashlib.sha256(body).hexdigest()}


def test_an_upload_without_token_is_not_read(server: Server) -> None:
    answer = server.client(None).post(f"{V3}/upload", body=b"x" * (2 * KIB * KIB))
    assert answer.errcode == "M_MISSING_TOKEN"


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("whoami", "GET", 200),
        ("whoami", "OPTIONS", 200),
        ("nothing", "OPTIONS", 200),
        ("whoami", "POST", 405),
        ("nothing", "GET", 404),
        ("fails/forbidden", "GET", 403),
        ("fails/now", "GET", 500),
        ("page", "GET", 200),
        ("redirect", "GET", 302),
        ("content/known", "GET", 200),
        ("stream/whole", "GET", 200),
        ("devices/%FF", "GET", 400),
    ],
)
def test_every_answer_has_the_cors_headers(client: Client, path: str, method: str, status: int) -> None:
    answer = client.request(method, f"{V3}/{path}")
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET, POST, PUT, DELETE, OPTIONS"
    assert answer.headers["access-control-allow-headers"] == "X-Requested-With, Content-Type, Authorization"
    assert answer.headers["server"] == "Trellis"
    assert "date" in answer.headers


def test_options_asks_no_endpoint(server: Server) -> None:
    answer = server.client(None).request("OPTIONS", f"{V3}/fails/now")
    assert (answer.status, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert "access-control-max-age" in answer.headers


@pytest.mark.parametrize("path", ["whoami", "large/300", "stream/whole", "content/parts", "fails/forbidden"])
def test_head_is_get_without_the_body(client: Client, path: str) -> None:
    get, head = client.get(f"{V3}/{path}"), client.request("HEAD", f"{V3}/{path}")
    assert head.status == get.status
    assert head.content == b""
    assert head.headers.get("content-length") == get.headers.get("content-length")


def test_status_and_headers_of_an_answer(client: Client) -> None:
    answer = client.post(f"{V3}/name", {"name": "x"})
    assert (answer.status, answer.json) == (201, {"name": "x"})
    assert answer.headers["x-name"].split() == ["a", "X-Injected:", "b"]
    assert "x-injected" not in answer.headers


def test_kinds_of_answers(client: Client) -> None:
    assert client.get(f"{V3}/encoded").json == {"a": 1}
    answer = client.get(f"{V3}/page")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.content.decode() == "<p>ä</p>"
    answer = client.get(f"{V3}/redirect")
    assert (answer.status, answer.headers["location"]) == (302, "https://example.org/?a=b")
    assert answer.headers["content-length"] == "0"


@pytest.mark.parametrize("kind", ["known", "parts", "unknown", "4000"])
def test_content(client: Client, kind: str) -> None:
    answer = client.get(f"{V3}/content/{kind}", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-type"] == "image/png"
    assert answer.content == b"\x89PNG" * 1000
    assert "content-encoding" not in answer.headers
    assert answer.headers.get("content-length") == (None if kind == "unknown" else "4000")


@pytest.mark.parametrize("length", ["3999", "4001"])
def test_content_of_another_length_than_promised_breaks_off(
    client: Client, length: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises((IncompleteRead, ConnectionError)):
        client.get(f"{V3}/content/{length}")
    assert "broke off" in caplog.text


@pytest.mark.parametrize("kib", [0, 1, 16, 17, 64, 65, 1500])
@pytest.mark.parametrize("gzip", [False, True])
def test_large_answers(client: Client, kib: int, gzip: bool) -> None:
    answer = client.get(f"{V3}/large/{kib}", headers={"Accept-Encoding": "gzip, br"} if gzip else {})
    assert answer.json == {"text": "0123456789abcdef" * (kib * 64)}
    compressed = gzip and kib > 0
    assert (answer.headers.get("content-encoding") == "gzip") is compressed
    assert (answer.headers.get("vary") == "Accept-Encoding") is (kib > 0)
    if not compressed:
        assert answer.headers["content-length"] == str(len(answer.content))
    elif kib > 1:
        assert int(answer.headers["content-length"]) < len(answer.content) // 5


@pytest.mark.parametrize("gzip", [False, True])
def test_a_stream(client: Client, gzip: bool) -> None:
    answer = client.get(f"{V3}/stream/whole", headers={"Accept-Encoding": "gzip"} if gzip else {})
    assert answer.json == {"items": [*range(5000), 0]}
    assert answer.headers["transfer-encoding"] == "chunked"
    assert (answer.headers.get("content-encoding") == "gzip") is gzip


@pytest.mark.parametrize("gzip", [False, True])
def test_an_empty_stream(client: Client, gzip: bool) -> None:
    answer = client.get(f"{V3}/stream/empty", headers={"Accept-Encoding": "gzip"} if gzip else {})
    assert (answer.status, answer.content) == (200, b"")


@pytest.mark.parametrize("gzip", [False, True])
def test_a_stream_that_is_refused_at_its_beginning(client: Client, gzip: bool) -> None:
    answer = client.get(f"{V3}/stream/refused", headers={"Accept-Encoding": "gzip"} if gzip else {})
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")


def test_a_stream_that_breaks_off(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises((IncompleteRead, ConnectionError)):
        client.get(f"{V3}/stream/broken")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("kind", ["now", "later", "encoding", "surrogate"])
def test_an_unforeseen_error(client: Client, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = client.get(f"{V3}/fails/{kind}")
    assert (answer.status, answer.json) == (500, {"errcode": "M_UNKNOWN", "error": "Internal server error"})
    assert "Traceback" in caplog.text


def test_the_database_is_away(client: Client) -> None:
    answer = client.get(f"{V3}/fails/database")
    assert (answer.status, answer.errcode, answer.headers["retry-after"]) == (503, "M_UNKNOWN", "5")
    assert "secret" not in answer.json["error"]


@pytest.mark.parametrize(
    ("x_forwarded", "header", "address"),
    [
        (False, "192.0.2.1", "127.0.0.1"),
        (True, "192.0.2.1", "192.0.2.1"),
        (True, "198.51.100.7, 192.0.2.1", "192.0.2.1"),
        (True, "192.0.2.1:443", "192.0.2.1"),
        (True, "2001:db8::1", "2001:db8::1"),
        (True, "[2001:db8::1]:443", "2001:db8::1"),
        (True, "unknown", "127.0.0.1"),
        (True, "", "127.0.0.1"),
        (True, "\xff", "127.0.0.1"),
    ],
)
def test_the_address_of_the_client(x_forwarded: bool, header: str, address: str) -> None:
    with serve(ENDPOINTS, x_forwarded=x_forwarded) as server:
        answer = server.client().get(
            f"{V3}/request", headers={"X-Forwarded-For": header, "User-Agent": "\xe4"}
        )
    assert answer.json == {"address": address, "agent": "�"}


def test_a_request_that_the_server_cancels(client: Client) -> None:
    answer = client.get(f"{V3}/fails/cancelled")
    assert (answer.status, answer.errcode) == (503, "M_UNKNOWN")
    assert "retry-after" in answer.headers


def test_an_upload_that_cannot_be_stored(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with caplog.at_level(logging.ERROR):
        answer = client.post(f"{V3}/upload", body=b"x" * (KIB * KIB))
    assert (answer.status, answer.errcode) == (503, "M_UNKNOWN")
    assert "cannot be stored" in caplog.text


def test_what_else_a_request_knows() -> None:
    async def know(call: Call[Since, Upload]) -> Json:
        request: Any = call.request
        return Json(
            {
                "cookie": (request.getCookie(b"a") or b"").decode(),
                "port": request.host.port,
                "peer": request.client.host,
                "body": len(call.request.body()),
                "missing": call.request.header("X-Missing"),
            }
        )

    with serve((Endpoint("POST", "/", know, body=Upload),)) as other:
        answer = other.client().post("/", body=b"x" * 100_000, headers={"Cookie": "b=c; a=d=e; f"})
        assert answer.json == {
            "cookie": "d=e",
            "port": other.port,
            "peer": "127.0.0.1",
            "body": 100_000,
            "missing": None,
        }


def test_json_is_compact_utf_8(client: Client) -> None:
    answer = client.put(f"{V3}/rooms/a/send/1", {"body": "ä"})
    assert json.loads(answer.content)["body"] == {"body": "ä"}
    assert '"body":{"body":"ä"}'.encode() in answer.content
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


def test_requester_of_a_call() -> None:
    call = Call(requester=None, path={}, query=None, body=None, request=None)  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        _ = call.user
    assert attrs.evolve(call, requester=ALICE).user is ALICE
