# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor

from federation.errors import Unauthorized
from federation.http.admission import Admission
from federation.http.dispatch import Dispatch
from federation.http.endpoint import Auth, Call, Endpoint, Json, JsonObject
from federation.http.request_signature import Credentials, RequestSignatures, parse_credentials
from federation.http.service import Service
from federation.rules.key_validity import PublishedKey
from federation.rules.keys import signing_key_of_seed
from tests.support.http import Client, Server, serve
from tests.support.x_matrix import authorization

ME, PEER = "me.test:8448", "peer.test"
KEY = signing_key_of_seed("one", b"1" * 32)
EXPIRED = signing_key_of_seed("old", b"2" * 32)
FAR = 2**52
PATH = "/_matrix/federation/v1/thing/a%2Fb?x=1&y=%20"
FULL = Credentials("o.test", "d.test", "ed25519:k", "c2ln")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('X-Matrix origin="o.test",destination="d.test",key="ed25519:k",sig="c2ln"', FULL),
        ("X-Matrix origin=o.test,destination=d.test,key=ed25519:k,sig=c2ln", FULL),
        ('x-MATRIX   ORIGIN="o.test" ,\t Key=ed25519:k, SIG="c2ln",,destination=d.test ', FULL),
        ('X-Matrix origin="o.te\\st",destination="d.test",key="ed25519:k",signature="c2l\\n"', FULL),
        ('X-Matrix sig=c2ln,new="a,b=\\"c\\"",key="ed25519:k",origin="o.test"',
         Credentials("o.test", None, "ed25519:k", "c2ln")),
        ('X-Matrix origin="[::1]:80",key="ed25519:k",sig="a+/b="',
         Credentials("[::1]:80", None, "ed25519:k", "a+/b=")),
        ("X-Matrix origin=o.test:80,key=ed25519:k,sig=a",
         Credentials("o.test:80", None, "ed25519:k", "a")),
        ("Bearer abc", None),
        ("X-MatrixPlus origin=o.test", None),
        ("", None),
    ],
)  # fmt: skip
def test_headers_that_can_be_read(header: str, expected: Credentials | None) -> None:
    assert parse_credentials(header.encode()) == expected


@pytest.mark.parametrize(
    "header",
    [
        "X-Matrix ",
        "X-Matrix origin=o.test,key=ed25519:k",
        'X-Matrix origin="",key="ed25519:k",sig="a"',
        "X-Matrix origin=o.test,key=ed25519:k,sig=a/b",
        'X-Matrix origin="o.test,key=ed25519:k,sig=a',
        'X-Matrix origin="o.test"x,key=ed25519:k,sig=a',
        "X-Matrix origin=o.test;key=ed25519:k;sig=a",
        "X-Matrix origin=o.test key=ed25519:k sig=a",
        "X-Matrix origin=o.test,origin=p.test,key=ed25519:k,sig=a",
        "X-Matrix =o.test,key=ed25519:k,sig=a",
        f'X-Matrix origin="o.test",key="ed25519:k",sig="{"a" * 5000}"',
        "X-Matrix " + '"' * 4000,
        "X-Matrix " + ", " * 2000 + "!",
    ],
)
def test_headers_that_cannot_be_read(header: str) -> None:
    with pytest.raises(Unauthorized):
        parse_credentials(header.encode())


_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40)


@settings(max_examples=100, deadline=None)
@given(origin=_TEXT, destination=_TEXT, key_id=_TEXT, signature=_TEXT)
def test_what_is_quoted_is_read_back(origin: str, destination: str, key_id: str, signature: str) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = (
        f"X-Matrix origin={quoted(origin)},destination={quoted(destination)}"
        f",key={quoted(key_id)},sig={quoted(signature)}"
    )
    expected = Credentials(origin, destination, key_id, signature)
    assert parse_credentials(header.encode()) == expected


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_nothing_but_a_refusal_comes_of_noise(noise: bytes) -> None:
    with contextlib.suppress(Unauthorized):
        parse_credentials(b"X-Matrix " + noise)


@attrs.frozen
class Ring:
    """The keys of the peer alone."""

    async def keys_of(
        self, server_name: str, key_ids: Collection[str], *, valid_at: int | None
    ) -> Mapping[str, PublishedKey]:
        assert valid_at is not None
        keys = {
            KEY.key_id: PublishedKey(KEY.verify_key, FAR),
            EXPIRED.key_id: PublishedKey(EXPIRED.verify_key, valid_at - 1),
        }
        return {k: keys[k] for k in key_ids if k in keys} if server_name == PEER else {}


async def say(call: Call) -> Json:
    return Json({"origin": call.peer, "path": call.path, "requester": call.requester})


ENDPOINTS = (
    Endpoint("GET", "/_matrix/federation/v1/thing/{name}", say, auth=Auth.SERVER, limit="peers"),
    Endpoint("PUT", "/_matrix/federation/v1/thing/{name}", say, auth=Auth.SERVER, body=JsonObject),
)
limited: list[Any] = []


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    def build(endpoints: Sequence[Endpoint], admission: Admission) -> Service:
        signatures = RequestSignatures(
            server_name=ME, keys=Ring(), clock=reactor, allows=lambda name: name != "shunned.test"
        )
        admission = attrs.evolve(admission, origin_of=signatures.origin_of)
        return Service(dispatch=Dispatch(endpoints), admission=admission)

    with serve(ENDPOINTS, build_service=build, limit=lambda name, who: limited.append((name, who))) as one:
        yield one


@pytest.fixture
def client(server: Server) -> Client:
    return server.client(None)


def test_a_signed_request(client: Client) -> None:
    header = authorization(PEER, ME, "GET", PATH, None, KEY)
    answer = client.get(PATH, headers={"Authorization": header})
    assert answer.status == 200
    assert answer.json == {"origin": PEER, "path": {"name": "a/b"}, "requester": None}
    assert limited[-1] == ("peers", PEER)


@pytest.mark.parametrize("content", [{}, {"b": [1, None], "a": "\u00fc", "f": 1.5, "big": 2**60}])
def test_a_signed_body(client: Client, content: Any) -> None:
    header = authorization(PEER, ME, "PUT", PATH, content, KEY)
    body = json.dumps(content, indent=3).encode()
    assert client.put(PATH, body=body, headers={"Authorization": header}).json["origin"] == PEER


def test_an_older_server_leaves_the_destination_out_of_the_header(client: Client) -> None:
    header = authorization(PEER, ME, "GET", PATH, None, KEY).replace(f'destination="{ME}",', "")
    assert "destination" not in header
    assert client.get(PATH, headers={"Authorization": header}).status == 200


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (None, "must be signed"),
        ("Bearer alice", "must be signed"),
        ("X-Matrix nonsense", "no list"),
        (authorization(PEER, "other.test", "GET", PATH, None, KEY), "is for other.test"),
        (authorization(PEER, "me.test", "GET", PATH, None, KEY), "is for me.test"),
        (authorization(PEER, ME, "PUT", PATH, None, KEY), "wrong for the key"),
        (authorization(PEER, ME, "GET", PATH + "&z", None, KEY), "wrong for the key"),
        (authorization(PEER, ME, "GET", PATH, {}, KEY), "wrong for the key"),
        (authorization(PEER, ME, "GET", PATH, None, EXPIRED), "no valid key"),
        (authorization("stranger.test", ME, "GET", PATH, None, KEY), "no valid key"),
        (authorization(ME, ME, "GET", PATH, None, KEY), "this server itself"),
        (authorization("b\u00e4d", ME, "GET", PATH, None, KEY), "origin"),
        (authorization("x" * 255 + ":8448", ME, "GET", PATH, None, KEY), "too long"),
    ],
)
def test_what_is_not_signed_as_it_must_be(client: Client, header: str | None, told: str) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1").decode("latin-1")}
    answer = client.get(PATH, headers=headers)
    assert (answer.status, answer.errcode) == (401, "M_UNAUTHORIZED")
    assert told in answer.json["error"]


def test_a_body_that_was_changed(client: Client) -> None:
    header = authorization(PEER, ME, "PUT", PATH, {"a": 1}, KEY)
    answer = client.put(PATH, {"a": 2}, headers={"Authorization": header})
    assert (answer.status, answer.errcode) == (401, "M_UNAUTHORIZED")


def test_a_body_that_is_no_json(client: Client) -> None:
    header = authorization(PEER, ME, "PUT", PATH, {"a": 1}, KEY)
    answer = client.put(PATH, body=b"{", headers={"Authorization": header})
    assert (answer.status, answer.errcode) == (400, "M_NOT_JSON")


def test_a_server_that_is_not_spoken_with(client: Client) -> None:
    header = authorization("shunned.test", ME, "GET", PATH, None, KEY)
    answer = client.get(PATH, headers={"Authorization": header})
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")


def test_without_signatures_no_server_is_served() -> None:
    with serve(ENDPOINTS) as one:
        header = authorization(PEER, ME, "GET", PATH, None, KEY)
        answer = one.client(None).get(PATH, headers={"Authorization": header})
    assert (answer.status, answer.errcode) == (401, "M_UNAUTHORIZED")
