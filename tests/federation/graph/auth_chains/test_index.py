# SPDX-License-Identifier: Apache-2.0
"""The index: what it saves, and that it stays true whatever happens to it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater

from federation.graph.auth_chains.auth_chains import AuthChains
from storage.auth_chains import AuthChainStore
from storage.engine.database import Database
from storage.engine.opening import open_database
from tests.support.auth_graphs import BruteForce, Node, new_room, store
from tests.support.databases import DatabaseHome
from tests.support.storing import Storing, storing_over

Key = tuple[int, int]
CREATE, POWER, RULES = (1, 0), (2, 0), (3, 0)


def member(user: int) -> Key:
    return (4, user)


class Crowd:
    """A room as rooms are: members who were invited by few, and who change their profiles."""

    def __init__(self, base: int) -> None:
        self.nodes: list[Node] = []
        self.state: dict[Key, int] = {}
        self._next = base
        self.set(CREATE, [])
        self.set(member(0), [CREATE])
        self.set(POWER, [CREATE, member(0)])
        self.set(RULES, [CREATE, POWER, member(0)])

    def set(self, key: Key, cited: Iterable[Key]) -> int:
        """A new value of a key; its own old value is cited besides, if there is one."""
        keys = {*cited, key} if key in (POWER,) or key[0] == 4 else set(cited)
        number = self._next
        self._next += 1
        auth_events = sorted(self.state[k] for k in keys if k in self.state)
        self.nodes.append(Node(number, key, tuple(auth_events)))
        self.state[key] = number
        return number

    def join(self, user: int, inviter: int) -> None:
        self.set(member(user), [CREATE, POWER, RULES, member(inviter)])  # an invite
        self.rename(user)

    def rename(self, user: int) -> int:
        return self.set(member(user), [CREATE, POWER, RULES])

    def grow(self, users: int, rng: random.Random, inviters: int = 5) -> None:
        """So many users join, and as many change their profiles."""
        for user in range(1, users):
            self.join(user, rng.randrange(min(user, inviters)))
            self.rename(rng.randrange(user))

    @property
    def truth(self) -> BruteForce:
        return BruteForce({node.number: node.cited for node in self.nodes})


@attrs.frozen
class States:
    """Whole states, cut into what they have in common and what not."""

    unconflicted: frozenset[int]
    conflicted: tuple[frozenset[int], ...]

    @classmethod
    def of(cls, states: Sequence[dict[Key, int]]) -> States:
        common = {key: value for key, value in states[0].items() if all(s.get(key) == value for s in states)}
        return cls(
            frozenset(common.values()),
            tuple(frozenset(v for key, v in s.items() if key not in common) for s in states),
        )

    def true_difference(self, truth: BruteForce) -> set[int]:
        return truth.difference([self.unconflicted | state for state in self.conflicted])


def fork(crowd: Crowd, rng: random.Random, states: int, changes: int, users: int) -> States:
    """Let so many states differ in `changes` members each."""
    base, forks = dict(crowd.state), []
    for _ in range(states):
        crowd.state = dict(base)
        for user in rng.sample(range(users), changes):
            crowd.rename(user)
        forks.append(dict(crowd.state))
    crowd.state = dict(base)
    return States.of(forks)


@attrs.define
class Asked:
    """How often whether an event is unconflicted."""

    times: int = 0


async def ask(chains: AuthChains, room: int, states: States, asked: Asked | None = None) -> set[int]:
    def is_unconflicted(number: int) -> bool:
        if asked is not None:
            asked.times += 1
        return number in states.unconflicted

    return await chains.difference(
        room,
        states.conflicted,
        unconflicted=lambda: states.unconflicted,
        is_unconflicted=is_unconflicted,
        unstored={},
    )


async def stored(database: Database, crowd: Crowd) -> tuple[Storing, int]:
    storing, room = storing_over(database), new_room()
    await store(storing, room, crowd.nodes)
    return storing, room


def chains_over(database: Database, **options: int) -> AuthChains:
    return AuthChains(store=AuthChainStore(database), clock=reactor, **options)


async def block_numbers(database: Database, room: int) -> list[int]:
    return [number for number, _ in await AuthChainStore(database).blocks(room)]


async def test_a_large_room_is_read_once(database_home: DatabaseHome) -> None:
    """Afterwards only what is new is read, and few events are looked at."""
    reads: Counter[str] = Counter()
    database = await open_database(
        database_home.settings, reactor=reactor, observe=lambda name, *_: reads.update([name])
    )
    rng, users = random.Random(5), 1_500
    crowd = Crowd(1)
    crowd.grow(users, rng)
    states = fork(crowd, rng, states=20, changes=12, users=users)
    _, room = await stored(database, crowd)
    expected = states.true_difference(crowd.truth)
    assert expected

    chains, asked = chains_over(database), Asked()
    assert await ask(chains, room, states, asked) == expected
    # Going downwards, what is waiting is read together; a room is no deeper than its longest chain.
    assert reads["auth events"] < len(crowd.nodes) / 256 * 3
    differing = len(set().union(*states.conflicted))
    assert asked.times < 3 * differing

    reads.clear()
    assert await ask(chains, room, states) == expected
    assert not reads

    again = chains_over(database)
    assert await ask(again, room, states) == expected
    assert reads == {"auth index": 1}
    await database.close()


async def test_only_what_is_new_is_read(database_home: DatabaseHome) -> None:
    reads: Counter[str] = Counter()
    database = await open_database(
        database_home.settings, reactor=reactor, observe=lambda name, *_: reads.update([name])
    )
    rng, crowd = random.Random(6), Crowd(1)
    crowd.grow(50, rng)
    storing, room = await stored(database, crowd)
    states = fork(crowd, rng, 3, 4, 50)
    await store(storing, room, crowd.nodes[-12:])
    chains = chains_over(database)
    assert await ask(chains, room, states) == states.true_difference(crowd.truth)
    states = fork(crowd, rng, 2, 1, 50)
    await store(storing, room, crowd.nodes[-2:])
    reads.clear()
    assert await ask(chains, room, states) == states.true_difference(crowd.truth)
    assert reads == {"auth events": 1}  # and too little to be written
    await database.close()


async def test_where_nothing_differs_the_unconflicted_part_is_not_asked_for(database: Database) -> None:
    crowd = Crowd(1)
    crowd.grow(5, random.Random(1))
    _, room = await stored(database, crowd)

    def fail() -> Iterable[int]:
        raise AssertionError("asked for")

    chains = chains_over(database)
    for conflicted in ([], [{crowd.state[POWER]}], [{crowd.state[POWER]}] * 3, [set(), set()]):
        found = await chains.difference(
            room, conflicted, unconflicted=fail, is_unconflicted=lambda _: True, unstored={}
        )
        assert found == set()


async def test_small_blocks_are_merged(database: Database) -> None:
    rng, crowd = random.Random(2), Crowd(1)
    crowd.grow(10, rng)
    storing, room = await stored(database, crowd)
    chains = chains_over(database, log_at_least=1)
    for _ in range(80):
        written = len(crowd.nodes)
        states = fork(crowd, rng, 2, 1, 10)
        await store(storing, room, crowd.nodes[written:])
        assert await ask(chains, room, states) == states.true_difference(crowd.truth)
    blocks = await block_numbers(database, room)
    assert len(blocks) <= 33
    assert blocks[-1] >= 80
    fresh = chains_over(database)
    assert await ask(fresh, room, states) == states.true_difference(crowd.truth)


@pytest.mark.parametrize("log_at_least", [1, 7, 25])
async def test_two_that_index_the_same_room(database_home: DatabaseHome, log_at_least: int) -> None:
    """As when a room moves to another process: whose write comes late reads the index again."""
    reads: Counter[str] = Counter()
    database = await open_database(
        database_home.settings, reactor=reactor, observe=lambda name, *_: reads.update([name])
    )
    rng, crowd = random.Random(3), Crowd(1)
    crowd.grow(10, rng)
    storing, room = await stored(database, crowd)
    both = [chains_over(database, log_at_least=log_at_least) for _ in range(2)]
    for _ in range(40):
        written = len(crowd.nodes)
        crowd.rename(rng.randrange(10))
        asked = [fork(crowd, rng, 2, 2, 10), fork(crowd, rng, 3, 1, 10)]
        await store(storing, room, crowd.nodes[written:])
        rng.shuffle(both)
        found = await gatherResults(
            [Deferred.fromCoroutine(ask(c, room, s)) for c, s in zip(both, asked, strict=True)]
        )
        assert found == [s.true_difference(crowd.truth) for s in asked]
    for chains in both:  # whoever is late writes at the second try
        written = len(crowd.nodes)
        asked.append(fork(crowd, rng, 2, 2, 10))
        await store(storing, room, crowd.nodes[written:])
        for _ in range(2):
            assert await ask(chains, room, asked[-1]) == asked[-1].true_difference(crowd.truth)
    reads.clear()
    fresh = chains_over(database)
    for states in asked[-2:]:
        assert await ask(fresh, room, states) == states.true_difference(crowd.truth)
    if log_at_least == 1:
        assert reads == {"auth index": 1}  # all is in the log, whoever wrote it
    await database.close()


async def test_an_index_that_is_read_again_forgets_what_was_not_written(database: Database) -> None:
    crowd = Crowd(1)
    unconflicted = frozenset({crowd.set(member(1), [CREATE, POWER])})
    asked = [
        States(unconflicted, (frozenset({crowd.set((5, i), [POWER]) for i in users}), frozenset()))
        for users in ([1], [2, 3, 4, 5])
    ]
    _, room = await stored(database, crowd)
    late, early = chains_over(database, log_at_least=8), chains_over(database, log_at_least=1)
    assert await ask(late, room, asked[0]) == set()
    other = States(frozenset(), (frozenset({crowd.state[RULES]}), frozenset()))
    assert await ask(early, room, other) == other.true_difference(crowd.truth)
    assert await ask(late, room, asked[1]) == set()  # it would write now, and is late
    assert await ask(late, room, asked[0]) == set()


async def test_what_is_unstored_is_not_indexed(database: Database) -> None:
    """A write may fail: what was said of it then holds no longer."""
    crowd = Crowd(1)
    _, room = await stored(database, crowd)
    create, power = crowd.state[CREATE], crowd.state[POWER]
    chains = chains_over(database, log_at_least=1)
    for cited in (create, power):
        found = await chains.difference(
            room,
            [{100}, set()],
            unconflicted=lambda: (),
            is_unconflicted=lambda _: False,
            unstored={100: [cited]},
        )
        assert found == {cited} | crowd.truth.chain(cited)
    assert await ask(chains, room, States(frozenset(), (frozenset({100}), frozenset()))) == set()


@pytest.mark.parametrize("data", [b"", b"\0" * 7, b"\1\0\0\0\0\0\0\0", b"\2\0\0\0\0\0\0\0" + b"\0" * 24])
async def test_a_damaged_index_is_made_again(database: Database, data: bytes) -> None:
    rng, crowd = random.Random(4), Crowd(1)
    crowd.grow(10, rng)
    states = fork(crowd, rng, 3, 2, 10)
    _, room = await stored(database, crowd)
    assert await ask(chains_over(database, log_at_least=1), room, states)
    before = await block_numbers(database, room)
    await database.write("damage", lambda txn: txn.execute("UPDATE auth_chain_blocks SET data = ?", (data,)))
    remade = []
    for _ in range(2):
        fresh = chains_over(database, log_at_least=1)
        assert await ask(fresh, room, states) == states.true_difference(crowd.truth)
        remade.append(await block_numbers(database, room))
    # No number comes again, so that whoever knew the old ones finds out.
    assert min(remade[0]) > max(before)
    assert remade[0] == remade[1]


async def test_rooms_leave_memory(database: Database) -> None:
    rng = random.Random(7)
    rooms: list[tuple[int, Crowd, States]] = []
    for i in range(4):
        crowd = Crowd(1 + i * 10_000)
        crowd.grow(10, rng)
        states = fork(crowd, rng, 3, 2, 10)
        _, room = await stored(database, crowd)
        rooms.append((room, crowd, states))
    chains = chains_over(database, cache_bytes=20_000)
    for room, crowd, states in rooms * 2:
        assert await ask(chains, room, states) == states.true_difference(crowd.truth)
        assert len(chains.rooms_in_memory()) < 4
    nothing = chains_over(database, cache_bytes=0)
    for room, crowd, states in rooms:
        assert await ask(nothing, room, states) == states.true_difference(crowd.truth)
        assert nothing.rooms_in_memory() == []


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 12, 20, 30])
async def test_whoever_asks_may_give_up(database: Database, turns: int) -> None:
    rng, crowd = random.Random(8), Crowd(1)
    crowd.grow(300, rng)
    states = fork(crowd, rng, 3, 4, 300)
    _, room = await stored(database, crowd)
    chains = chains_over(database, log_at_least=1)
    asking = Deferred.fromCoroutine(ask(chains, room, states))
    waiting = Deferred.fromCoroutine(ask(chains, room, states))
    for _ in range(turns):
        await deferLater(reactor, 0.0005)
    asking.addErrback(lambda failure: failure.trap(CancelledError))
    asking.cancel()
    expected = states.true_difference(crowd.truth)
    assert await waiting == expected
    assert await ask(chains, room, states) == expected
    assert await ask(chains_over(database), room, states) == expected


async def test_the_subgraph_of_a_large_conflict(database: Database) -> None:
    """A path leads from a member to the power levels that they were invited under, not through others."""
    rng, crowd = random.Random(9), Crowd(1)
    crowd.grow(200, rng)
    power = crowd.state[POWER]
    conflicted: Collection[int] = {power, *(crowd.state[member(user)] for user in range(20, 40))}
    _, room = await stored(database, crowd)
    chains = chains_over(database)
    found = await chains.subgraph(room, conflicted, unstored={})
    assert found == crowd.truth.subgraph(conflicted)
    assert crowd.state[member(50)] not in found
