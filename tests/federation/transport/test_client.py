# SPDX-License-Identifier: Apache-2.0
"""Requests to peers over real TLS: what they carry, how answers are read, and what hostile ones cost."""

from __future__ import annotations

import json

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from federation.rules.canonical_json import encode_canonical
from federation.rules.errors import InvalidIdentifier
from federation.transport.errors import (
    AnswerUnusable,
    PeerRefused,
    ServerNotAllowed,
    ServerUnreachable,
)
from tests.support.peers import LOOPBACK, OWN_NAME, start_net
from tests.support.reactor import in_reactor
from tests.support.rooms import signing_key
from tests.support.x_matrix import origin_of

PATH = "/_matrix/federation/v1/event/%24a%2Fb"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture
def net(tmp_path):
    made = in_reactor(start_net(tmp_path))
    yield made
    in_reactor(made.stop())


async def started(net, answer=lambda request: b"{}", raw=None, name="peer.test"):
    """A peer that DNS knows, and its server name with its port."""
    peer = await net.peer(name, answer, raw)
    net.zone.a(name)
    return peer, f"{name}:{peer.port}"


@pytest.mark.parametrize(
    ("method", "content"),
    [("get", None), ("put", {"b": "ü", "a": [1, True, None]}), ("post", {})],
)
async def test_a_request_is_signed_and_canonical(net, method, content) -> None:
    peer, name = await started(net, lambda request: b'{"n": [1]}')
    client = net.client()
    query = {"v": ["1", "a b"], "limit": "5"}
    arguments = (name, PATH) if content is None else (name, PATH, content)
    assert await getattr(client, method)(*arguments, query) == {"n": [1]}
    request = peer.requests[0]
    assert request.uri == f"{PATH}?v=1&v=a%20b&limit=5".encode()
    assert request.getHeader("Host") == name
    assert request.getHeader("User-Agent") == "Trellis/test"
    credentials = request.getHeader("Authorization")
    key = signing_key(OWN_NAME)
    keys = {OWN_NAME: {key.key_id: key.verify_key}}
    uri = request.uri.decode()
    assert origin_of(credentials, name, method.upper(), uri, content, keys) == OWN_NAME
    assert peer.bodies[0] == (b"" if content is None else encode_canonical(content))
    assert request.getHeader("Content-Type") == (None if content is None else "application/json")
    assert peer.sni == [b"peer.test"]


async def test_a_literal_needs_a_certificate_for_the_address_and_sends_no_sni(net) -> None:
    peer = await net.peer("127.0.0.1", lambda request: b"{}")
    assert await net.client().get(f"127.0.0.1:{peer.port}", PATH) == {}
    assert peer.sni == [None]


async def test_connections_are_kept_for_what_may_be_repeated(net) -> None:
    peer, name = await started(net)
    client = net.client()
    await client.get(name, PATH)
    await client.put(name, PATH, {})
    assert peer.connections == 1
    await client.post(name, PATH, {})
    assert peer.connections == 2
    await gatherResults([Deferred.fromCoroutine(client.get(name, PATH)) for _ in range(5)])
    assert peer.connections == 5


async def test_a_kept_connection_that_died_is_replaced(net) -> None:
    peer, name = await started(net)

    def silent(request):
        request.transport.abortConnection()

    client = net.client()
    await client.get(name, PATH)
    answers = [silent, lambda request: b'{"again": 1}']
    peer.answer = lambda request: answers.pop(0)(request)
    assert await client.get(name, PATH) == {"again": 1}


@pytest.mark.parametrize(
    ("status", "body", "errcode", "text", "members"),
    [
        (403, b'{"errcode": "M_FORBIDDEN", "error": "no\\nway"}', "M_FORBIDDEN", "no way", 2),
        (404, b"<html>", "M_UNKNOWN", "", 0),
        (500, b'{"errcode": 5}', "M_UNKNOWN", "", 1),
        (302, b"[]", "M_UNKNOWN", "", 0),
        (502, b"x" * 200_000, "M_UNKNOWN", "", 0),
    ],
)
async def test_refusals(net, status, body, errcode, text, members) -> None:
    def answer(request):
        request.setResponseCode(status)
        request.setHeader("Location", f"https://{name}/elsewhere")
        return body

    peer, name = await started(net, answer)
    with pytest.raises(PeerRefused) as refused:
        await net.client().get(name, PATH)
    error = refused.value
    assert (error.status, error.errcode, error.text, len(error.body)) == (status, errcode, text, members)
    assert "\n" not in str(error)
    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 300 + b"]" * 300, b"NaN"], ids=["none", "cut", "bytes", "deep", "nan"]
)
async def test_answers_that_are_no_json(net, body) -> None:
    _, name = await started(net, lambda request: body)
    with pytest.raises(AnswerUnusable):
        await net.client().get(name, PATH)


async def test_ten_megabytes_are_read_where_they_are_allowed(net) -> None:
    body = json.dumps({"x": "y" * 10_000_000}).encode()
    _, name = await started(net, lambda request: body)
    client = net.client()
    assert len((await client.get(name, PATH))["x"]) == 10_000_000
    with pytest.raises(AnswerUnusable, match="longer than 1000000 bytes"):
        await client.get(name, PATH, largest=1_000_000)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ((HEAD + b"\r\n", b"x" * 65536), AnswerUnusable),
        ((HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n"), AnswerUnusable),
        ((HEAD, b"X-More: and more\r\n" * 500), AnswerUnusable),
        ((b"", b"HTTP/1.1 100 Continue\r\n\r\n"), AnswerUnusable),
        ((HEAD + b"Content-Length: 99999999999\r\n\r\n", b"x" * 65536), AnswerUnusable),
        ((HEAD + b"Transfer-Encoding: strange\r\n\r\n", b""), ServerUnreachable),
        ((b"HTTP/1.1 abc\r\n\r\n", b""), ServerUnreachable),
        ((b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b""), ServerUnreachable),
        ((HEAD, b""), ServerUnreachable),
        ((HEAD + b"Content-Length: 5\r\n\r\n{}", b""), ServerUnreachable),
    ],
    ids=["body", "chunks", "headers", "interim", "length", "coding", "status", "ssh", "slow", "slow body"],
)
async def test_hostile_answers(net, raw, error) -> None:
    _, name = await started(net, raw=raw)
    began = reactor.seconds()
    with pytest.raises(error) as raised:
        await net.client().get(name, PATH, timeout=1, largest=3_000_000)
    assert reactor.seconds() - began < 5
    assert "\n" not in str(raised.value)


async def test_a_slow_server_is_given_up(net) -> None:
    _, name = await started(net, lambda request: None)
    with pytest.raises(ServerUnreachable, match=r"no whole answer within 0\.3 s"):
        await net.client().get(name, PATH, timeout=0.3)
    with pytest.raises(ServerUnreachable, match="no answer comes in time"):
        await net.client().get(name, PATH)


async def test_a_certificate_must_be_trusted_and_for_the_name(net, tmp_path) -> None:
    peer, name = await started(net)
    net.zone.a("other.test")
    with pytest.raises(ServerUnreachable, match="the certificate is for another name"):
        await net.client().get(f"other.test:{peer.port}", PATH)
    assert await net.client(unverified=("*.TEST",)).get(f"other.test:{peer.port}", PATH) == {}
    assert await net.client(verify=False).get(f"other.test:{peer.port}", PATH) == {}
    net.authorities.clear()
    with pytest.raises(ServerUnreachable, match="certificate verify failed"):
        await net.client().get(name, PATH)
    assert len(peer.requests) == 2


async def test_no_denied_address_is_connected_to(net) -> None:
    peer, name = await started(net)
    client = net.client(rules=LOOPBACK)
    literal = [f"127.0.0.1:{peer.port}", f"[::ffff:127.0.0.1]:{peer.port}", f"[::1]:{peer.port}"]
    for each in [name, *literal]:
        with pytest.raises(ServerUnreachable, match="never connected to"):
            await client.get(each, PATH)
    net.zone.srv("_matrix-fed._tcp.by-srv.test", "peer.test", peer.port)
    with pytest.raises(ServerUnreachable, match="never connected to"):
        await client.get("by-srv.test", PATH)
    assert peer.connections == 0


async def test_whom_not_to_ask_is_not_even_looked_up(net) -> None:
    client = net.client(allowed=["good.test"])
    for name in ("bad.test", "OWN.test", OWN_NAME):
        with pytest.raises(ServerNotAllowed):
            await client.get(name, PATH)
    with pytest.raises(InvalidIdentifier):
        await client.get('a"b', PATH)
    assert net.zone.asked == []


async def test_a_failed_connection_moves_on_and_an_answer_does_not(net) -> None:
    peer, _ = await started(net, name="host.test")
    net.zone.a("back.test", "::1")  # nobody listens there
    net.zone.a("back.test")
    net.zone.srv("_matrix-fed._tcp.host.test", "gone.test", 8448, priority=1)
    net.zone.srv("_matrix-fed._tcp.host.test", "back.test", peer.port, priority=2)
    client = net.client()
    assert await client.get("host.test", PATH) == {}
    assert peer.requests[0].getHeader("Host") == "host.test"

    def refuse(request):
        request.setResponseCode(500)
        return b"{}"

    net.zone.srv("_matrix-fed._tcp.two.test", "host.test", peer.port, priority=1)
    net.zone.srv("_matrix-fed._tcp.two.test", "back.test", peer.port, priority=2)
    peer.answer = refuse
    with pytest.raises(PeerRefused):
        await net.client(verify=False).get("two.test", PATH)
    assert len(peer.requests) == 2


async def test_nobody_listens(net) -> None:
    peer, name = await started(net)
    await peer.listening.stopListening()
    with pytest.raises(ServerUnreachable, match=r"127\.0\.0\.1 port \d+: .*refused"):
        await net.client().get(name, PATH)
    with pytest.raises(ServerUnreachable, match=r"DNS knows no address of nowhere\.test"):
        await net.client().get("nowhere.test:1", PATH)
