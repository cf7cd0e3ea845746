# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from federation.rules.signing import verify_json
from federation.server_api.endpoints import server_api_endpoints
from storage.engine.database import Database
from tests.federation.keys.test_key_ring import ME, setting
from tests.support.fake_peer import FakePeer
from tests.support.http import Client, serve
from tests.support.reactor import in_reactor
from tests.support.rooms import signing_key
from tests.support.storing import storing_over

KEY = "/_matrix/key/v2"


@pytest.fixture
def client(database: Database) -> Iterator[Client]:
    one = setting(storing_over(database))
    endpoints = server_api_endpoints(own_keys=one.own, notary=one.notary, clock=reactor, version="1.2")
    with serve(endpoints) as server:
        yield server.client(None)


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[FakePeer]:
    started = in_reactor(FakePeer.start(tmp_path))
    yield started
    in_reactor(started.stop())


def check(document: dict[str, Any], *signers: str) -> None:
    for signer in signers:
        key = signing_key(signer)
        verify_json(document, signer, {key.key_id: key.verify_key})


def test_our_own_keys(client: Client) -> None:
    document = client.get(f"{KEY}/server").json
    assert document["server_name"] == ME
    check(document, ME)
    assert client.get(f"{KEY}/query/{ME}").json == {"server_keys": [document]}
    assert client.post(f"{KEY}/query", {"server_keys": {ME: {}}}).json == {"server_keys": [document]}


def test_keys_of_another_server(client: Client, peer: FakePeer) -> None:
    [document] = client.get(f"{KEY}/query/{peer.name}?minimum_valid_until_ts=5").json["server_keys"]
    check(document, ME, peer.name)
    wanted = {peer.name: {"ed25519:x": {"minimum_valid_until_ts": 5}, "ed25519:y": {}}, "127.0.0.1:1": {}}
    assert client.post(f"{KEY}/query", {"server_keys": wanted}).json["server_keys"] == [document]
    assert client.post(f"{KEY}/query", {"server_keys": {}}).json == {"server_keys": []}


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"server_keys": []}, "M_BAD_JSON"),
        ({"server_keys": {"a.test": {"ed25519:x": {"minimum_valid_until_ts": "1"}}}}, "M_BAD_JSON"),
        ({"server_keys": {"no name": {}}}, "M_INVALID_PARAM"),
        ({"server_keys": {"x" * 255 + ":8448": {}}}, "M_INVALID_PARAM"),
        ({"server_keys": {f"s{n}.test": {} for n in range(401)}}, "M_INVALID_PARAM"),
        ({"server_keys": {"a.test": {f"ed25519:{n}": {} for n in range(4001)}}}, "M_INVALID_PARAM"),
    ],
)
def test_bad_queries(client: Client, body: Any, errcode: str) -> None:
    answer = client.post(f"{KEY}/query", body)
    assert (answer.status, answer.errcode) == (400, errcode)


def test_a_bad_name(client: Client) -> None:
    answer = client.get(f"{KEY}/query/no%20name")
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")


def test_the_version(client: Client) -> None:
    told = client.get("/_matrix/federation/v1/version").json
    assert told == {"server": {"name": "Trellis", "version": "1.2"}}
