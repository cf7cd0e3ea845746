# SPDX-License-Identifier: Apache-2.0
"""The ring and the notary, with real servers on the loopback as peers and as a key server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from federation.keys.key_documents import OwnKeys
from federation.keys.key_fetching import KeyFetching, KeyServer
from federation.keys.key_ring import KeyRing, WantedKey
from federation.keys.notary import Notary
from federation.rules.key_validity import PublishedKey
from federation.rules.signing import sign_json, verify_json
from storage.engine.database import Database
from tests.support.fake_peer import Asked, FakePeer, Refused
from tests.support.key_client import KeyClientOfTests
from tests.support.rooms import signing_key
from tests.support.storing import Storing, storing_over

ME = "me.test"
DAY = 24 * 3600 * 1000
DEAD = "127.0.0.1:1"
SERVER = "/_matrix/key/v2/server"
QUERY = "/_matrix/key/v2/query"


def now_ms() -> int:
    return int(time.time() * 1000)


@attrs.frozen
class Setting:
    """A ring over a database, and what it asked."""

    ring: KeyRing
    notary: Notary
    client: KeyClientOfTests
    own: OwnKeys


def setting(storing: Storing, *key_servers: KeyServer) -> Setting:
    own = OwnKeys(server_name=ME, signing_keys=[signing_key(ME)], old_keys={}, refresh_interval_ms=DAY)
    client = KeyClientOfTests()
    store = storing.storage.server_keys
    ring = KeyRing(
        own=own,
        store=store,
        queue=storing.queue,
        fetching=KeyFetching(client=client, key_servers=key_servers, clock=reactor),
        background=storing.background,
        clock=reactor,
    )
    return Setting(ring, Notary(own=own, ring=ring, store=store, clock=reactor), client, own)


@asynccontextmanager
async def peers(tmp_path: Path, count: int) -> AsyncIterator[list[FakePeer]]:
    started = []
    for number in range(count):
        directory = tmp_path / str(number)
        directory.mkdir()
        started.append(await FakePeer.start(directory))
    try:
        yield started
    finally:
        for peer in started:
            await peer.stop()


def key_id_of(name: str) -> str:
    return signing_key(name).key_id


async def keys(one: Setting, name: str, valid_at: int | None = None) -> Any:
    return await one.ring.keys_of(name, [key_id_of(name)], valid_at=valid_at)


async def test_a_key_is_fetched_once_and_kept(database: Database, tmp_path: Path) -> None:
    async with peers(tmp_path, 1) as [peer]:
        storing = storing_over(database)
        one = setting(storing)
        found = await keys(one, peer.name, now_ms())
        assert found[key_id_of(peer.name)].key == signing_key(peer.name).verify_key
        assert found[key_id_of(peer.name)].valid_until_ts > now_ms()
        assert await keys(one, peer.name, now_ms() + 1000) == found
        another = setting(storing)
        assert await keys(another, peer.name, now_ms()) == found
        assert (len(one.client.log), another.client.log) == (1, [])


async def test_askers_of_one_server_share_an_answer(database: Database, tmp_path: Path) -> None:
    async with peers(tmp_path, 1) as [peer]:
        one = setting(storing_over(database))
        found = await gatherResults([Deferred.fromCoroutine(keys(one, peer.name)) for _ in range(5)])
        assert all(key_id_of(peer.name) in each for each in found)
        assert len(one.client.log) == 1


async def test_a_server_is_not_asked_again_at_once(database: Database, tmp_path: Path) -> None:
    async with peers(tmp_path, 1) as [peer]:
        one = setting(storing_over(database))
        for _ in range(3):
            assert await one.ring.keys_of(peer.name, ["ed25519:unknown"], valid_at=None) == {}
            assert await keys(one, DEAD) == {}
            assert await keys(one, peer.name, now_ms() + 365 * DAY)  # not valid then; the caller looks
        assert sorted(one.client.log) == sorted([f"GET {DEAD}{SERVER}", f"GET {peer.name}{SERVER}"])


async def test_what_is_signed_by_another_is_not_taken(database: Database, tmp_path: Path) -> None:
    async with peers(tmp_path, 1) as [peer]:
        wrong = sign_json({"server_name": peer.name, "valid_until_ts": now_ms() + DAY,
                           "verify_keys": {}}, peer.name, signing_key("other.test"))  # fmt: skip
        peer.answer("GET", SERVER, lambda _asked: wrong)
        assert await keys(setting(storing_over(database)), peer.name) == {}


async def test_our_own_keys_are_never_asked_for(database: Database) -> None:
    one = setting(storing_over(database))
    found = (await keys(one, ME, now_ms()))[key_id_of(ME)]
    assert found.key == signing_key(ME).verify_key
    assert await one.ring.keys_of(ME, ["ed25519:unknown"], valid_at=None) == {}
    assert one.client.log == []


def notary_answers(notary: FakePeer, others: list[FakePeer], *, signs: bool = True) -> None:
    """Let a peer tell the keys of the others."""

    def answer(asked: Asked) -> Any:
        documents = [other._keys(asked) for other in others if other.name in asked.body["server_keys"]]
        if signs:
            documents = [sign_json(d, notary.name, signing_key(notary.name)) for d in documents]
        return {"server_keys": documents}

    notary.answer("POST", QUERY, answer)


async def test_many_servers_are_asked_for_in_one_query(database: Database, tmp_path: Path) -> None:
    async with peers(tmp_path, 6) as [notary, silent, *others]:
        notary_answers(notary, others)
        one = setting(storing_over(database), KeyServer(notary.name))
        names = [peer.name for peer in (silent, *others)]
        found = await one.ring.keys_for([WantedKey(name, key_id_of(name), now_ms()) for name in names])
        assert all(key_id_of(name) in found[name] for name in names)
        # The notary for its own key, all in one query, and the one that it does not know.
        assert one.client.log == [
            f"GET {notary.name}{SERVER}", f"POST {notary.name}{QUERY}", f"GET {silent.name}{SERVER}"
        ]  # fmt: skip


async def test_a_key_server_must_sign(database: Database, tmp_path: Path) -> None:
    async with peers(tmp_path, 3) as [notary, other, wanted]:

        def refuse(_asked: Asked) -> Any:
            raise Refused(500, {})

        wanted.answer("GET", SERVER, refuse)
        right = {key_id_of(notary.name): signing_key(notary.name).verify_key}
        for signs, verify_keys, is_found in (
            (False, right, False),
            (True, {key_id_of(notary.name): signing_key(other.name).verify_key}, False),
            (True, right, True),
        ):
            notary_answers(notary, [wanted], signs=signs)
            one = setting(storing_over(database), KeyServer(notary.name, verify_keys))
            assert bool(await keys(one, wanted.name)) is is_found
            assert one.client.log == [f"GET {wanted.name}{SERVER}", f"POST {notary.name}{QUERY}"]


async def test_the_notary_signs_what_it_tells(database: Database, tmp_path: Path) -> None:
    async with peers(tmp_path, 1) as [peer]:
        one = setting(storing_over(database))
        told = {
            d["server_name"]: d for d in await one.notary.documents({peer.name: None, ME: None, DEAD: None})
        }
        assert told.keys() == {peer.name, ME}
        for signer in (peer.name, ME):
            key = signing_key(signer)
            verify_json(told[peer.name], signer, {key.key_id: key.verify_key})
        asked = len(one.client.log)
        assert len(await one.notary.documents({peer.name: None, DEAD: None})) == 1
        # Wanted for longer than it counts: it is left alone for now, and the last answer goes out.
        assert len(await one.notary.documents({peer.name: now_ms() + 30 * DAY})) == 1
        assert len(one.client.log) == asked


async def test_an_expired_key_counts_for_old_events_alone(database: Database, tmp_path: Path) -> None:
    async with peers(tmp_path, 1) as [peer]:
        key = signing_key(peer.name)
        document = {**peer._keys(Asked({}, {}, None)), "valid_until_ts": 1000}
        peer.answer("GET", SERVER, lambda _asked: sign_json(document, peer.name, key))
        found = await keys(setting(storing_over(database)), peer.name, now_ms())
        assert found == {key.key_id: PublishedKey(key.verify_key, 1000)}
