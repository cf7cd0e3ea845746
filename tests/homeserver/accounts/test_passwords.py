# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Iterator

import argon2
import bcrypt
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from federation.errors import LimitExceeded
from homeserver.accounts.passwords import Passwords
from tests.support.reactor import in_reactor


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = in_reactor(_make())
    yield made
    made.stop()


async def _make() -> Passwords:
    return Passwords(reactor=reactor, pepper="pepper")


def synapse_hash(password: str, pepper: str = "pepper") -> str:
    """A hash as Synapse makes it, with few rounds."""
    return bcrypt.hashpw((password + pepper).encode()[:72], bcrypt.gensalt(4)).decode()


@pytest.mark.parametrize("password", ["abc", "pass word", "🐵 ünïcode", "x" * 512])
async def test_a_password_matches_its_own_hash_alone(passwords, password):
    made = await passwords.hash(password)
    assert await passwords.verify(password, made)
    assert not await passwords.verify(password + "x", made)
    assert not await passwords.verify(password[:-1], made)
    assert made != await passwords.hash(password)


async def test_the_hash_is_argon2id_with_the_documented_parameters(passwords):
    parameters = argon2.extract_parameters(await passwords.hash("abc"))
    assert parameters.type is argon2.Type.ID
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19 * 1024, 2, 1)
    assert (parameters.salt_len, parameters.hash_len) == (16, 32)


async def test_the_pepper_belongs_to_the_hash(passwords):
    bland = Passwords(reactor=reactor)
    try:
        assert not await passwords.verify("abc", await bland.hash("abc"))
        assert await bland.verify("abcpepper", await passwords.hash("abc"))
    finally:
        bland.stop()


async def test_two_spellings_of_one_text_are_one_password(passwords):
    assert await passwords.verify("\u212bngstro\u0308m", await passwords.hash("\u00c5ngstr\u00f6m"))


@pytest.mark.parametrize(
    ("password", "hashed"), [("abc", "abc"), ("x" * 200, "x" * 200), ("pa\u0308ss", "p\u00e4ss")]
)
async def test_hashes_of_synapse_match(passwords, password, hashed):
    made = synapse_hash(hashed)
    assert await passwords.verify(password, made)
    assert not await passwords.verify("y" + password, made)


async def test_a_hash_of_no_known_kind_matches_nothing(passwords):
    for nonsense in ("", "plain", "$2b$12$short", "$argon2id$v=19$nonsense"):
        assert not await passwords.verify("plain", nonsense)


async def test_a_password_longer_than_any_matches_nothing(passwords):
    longest = "x" * 512
    assert not await passwords.verify(longest + "x", await passwords.hash(longest))


async def test_old_hashes_are_outdated(passwords):
    weaker = argon2.PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash("abc")
    assert passwords.is_outdated(synapse_hash("abc"))
    assert passwords.is_outdated(weaker)
    assert not passwords.is_outdated(await passwords.hash("abc"))


async def test_without_a_hash_it_takes_as_long(passwords):
    made = await passwords.hash("abc")

    async def shortest(password_hash: str | None) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            assert await passwords.verify("wrong", password_hash) is False
            times.append(time.perf_counter() - began)
        return min(times)

    known, unknown = await shortest(made), await shortest(None)
    assert known / 3 < unknown < known * 3


async def test_a_storm_is_refused_and_what_waited_is_served():
    few = Passwords(reactor=reactor, threads=1, queue_limit=2)
    try:
        answers = [Deferred.fromCoroutine(few.hash("abc")) for _ in range(5)]
        for answer in answers:
            answer.addErrback(lambda failure: failure.value)
        outcomes = await gatherResults(answers)
        assert [isinstance(outcome, str) for outcome in outcomes] == [True, True, True, False, False]
        assert all(isinstance(outcome, LimitExceeded) for outcome in outcomes[3:])
        assert outcomes[3].retry_after_ms > 0
        assert isinstance(await few.hash("abc"), str)
    finally:
        few.stop()
