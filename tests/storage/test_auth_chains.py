# SPDX-License-Identifier: Apache-2.0
"""The auth graph is read as it is stored, and the log of an index has one end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, gatherResults

from storage.auth_chains import AuthChainBlock, AuthChainStore, Citations, IndexMoved
from storage.engine.database import Database
from storage.engine.errors import DataError
from storage.event import Event, StoredEvent
from storage.event_records import NewEvent
from storage.persist import Unit
from tests.support.auth_graphs import Node, event_id, event_of, new_room, store
from tests.support.storing import Storing, storing_over

_INT = st.integers(-(2**63), 2**63 - 1)
_SMALL = st.integers(0, 2**31 - 1)


async def put(storing: Storing, room: int, number: int, event: Event, state_key: int | None = 1) -> None:
    """Store an event under a type and a state key of its own choice."""
    stored = StoredEvent(event, number, None, topo=1, before=None)
    record = NewEvent(stored, room, type=1, state_key=state_key, sender=1, index=1)
    await storing.queue.submit(Unit([record], positions=1))


async def test_citations(database: Database) -> None:
    storing, room, chains = storing_over(database), new_room(), AuthChainStore(database)
    nodes = [Node(7, (1, 1), ()), Node(3, (2, 1), (7,)), Node(9, (2, 1), (7, 3, 7)), Node(4, (2, 2), (7, 3))]
    await store(storing, room, nodes)
    assert await chains.citations(room, [3, 4, 7, 9, 100]) == {
        7: Citations((), None, complete=True),
        3: Citations((7,), None, complete=True),
        9: Citations((3, 7), 3, complete=True),  # 3 has its type and state key
        4: Citations((3, 7), None, complete=True),
    }
    assert await chains.citations(room, []) == {}


async def test_an_auth_event_that_comes_later(database: Database) -> None:
    storing, room, chains = storing_over(database), new_room(), AuthChainStore(database)
    await store(storing, room, [Node(2, (1, 1), (1, 5)), Node(5, (1, 2), ())])
    assert await chains.citations(room, [2]) == {2: Citations((5,), None, complete=False)}
    await store(storing, room, [Node(1, (1, 3), ())])
    assert await chains.citations(room, [2]) == {2: Citations((1, 5), None, complete=True)}


async def test_what_no_state_event_can_cite_is_passed_over(database: Database) -> None:
    """Such an event is rejected. What it cites must not lead out of the room."""
    storing, room, other, chains = storing_over(database), new_room(), new_room(), AuthChainStore(database)
    await store(storing, other, [Node(1, (1, 1), ())])
    await put(storing, room, 2, event_of(room, 2, (), is_state=False), state_key=None)
    await store(storing, room, [Node(3, (1, 1), ())])
    elsewhere, message, here = event_id(other, 1), event_id(room, 2), event_id(room, 3)
    await put(storing, room, 4, citing(room, 4, [elsewhere, message, here]))
    assert await chains.citations(room, [4]) == {4: Citations((3,), 3, complete=True)}


async def test_references_with_hashes(database: Database) -> None:
    """Room versions 1 and 2 write `[id, {"sha256": …}]`."""
    storing, room, chains = storing_over(database), new_room(), AuthChainStore(database)
    await store(storing, room, [Node(1, (1, 1), ())])
    await put(storing, room, 2, citing(room, 2, [[event_id(room, 1), {"sha256": "x"}], [], 5]))
    assert await chains.citations(room, [2]) == {2: Citations((1,), 1, complete=True)}


def citing(room: int, number: int, references: list[object]) -> Event:
    """An event with these `auth_events`, whatever they are."""
    return event_of(room, number, (), auth_events=references)


@given(
    st.lists(
        st.tuples(_INT, _SMALL, st.lists(st.tuples(_SMALL, _SMALL), max_size=3)),
        max_size=20,
    )
)
def test_a_block_is_unpacked_as_it_was_packed(
    entries: list[tuple[int, int, list[tuple[int, int]]]],
) -> None:
    block, rest = AuthChainBlock(), AuthChainBlock()
    for i, entry in enumerate(entries):
        (block if i < 7 else rest).append(*entry)
    block.extend(rest)
    again = AuthChainBlock.unpack(block.pack())
    assert len(again) == len(entries)
    assert list(again.entries()) == entries


def test_a_block_is_little_endian() -> None:
    block = AuthChainBlock()
    block.append(0x0102030405060708, 3, [(1, 2)])
    assert block.pack() == bytes.fromhex(
        "01000000 01000000 0807060504030201 03000000 00000000 01000000 02000000"
    )


@pytest.mark.parametrize("cut", [0, 5, 8, 12, 20, 31])
def test_a_block_that_is_cut_off(cut: int) -> None:
    block = AuthChainBlock()
    block.append(1, 0, [(0, 1)])
    with pytest.raises(ValueError, match="block"):
        AuthChainBlock.unpack(block.pack()[:cut])


def block_of(*numbers: int) -> AuthChainBlock:
    block = AuthChainBlock()
    for number in numbers:
        block.append(number, 0, [])
    return block


async def numbers_in(chains: AuthChainStore, room: int) -> list[tuple[int, list[int]]]:
    """The events of each block of the log."""
    return [
        (block, [number for number, _, _ in AuthChainBlock.unpack(data).entries()])
        for block, data in await chains.blocks(room)
    ]


async def test_the_log(database: Database) -> None:
    room, other, chains = new_room(), new_room(), AuthChainStore(database)
    assert await chains.blocks(room) == []
    await chains.append(other, last=0, replaced=[], block=block_of(9))
    assert await chains.append(room, last=0, replaced=[], block=block_of(1)) == 1
    assert await chains.append(room, last=1, replaced=[], block=block_of(2)) == 2
    assert await chains.append(room, last=2, replaced=[], block=block_of(3)) == 3
    assert await chains.append(room, last=3, replaced=[2, 3], block=block_of(2, 3, 4)) == 4
    assert await numbers_in(chains, room) == [(1, [1]), (4, [2, 3, 4])]
    assert await numbers_in(chains, other) == [(1, [9])]


@pytest.mark.parametrize(
    ("last", "replaced"),
    [(0, []), (2, []), (4, []), (3, [1, 2, 3]), (3, [3, 4]), (2, [2])],
)
async def test_the_log_has_one_end(database: Database, last: int, replaced: list[int]) -> None:
    room, chains = new_room(), AuthChainStore(database)
    await chains.append(room, last=0, replaced=[], block=block_of(1))
    await chains.append(room, last=1, replaced=[], block=block_of(2))
    await chains.append(room, last=2, replaced=[1, 2], block=block_of(1, 2, 3))
    with pytest.raises(IndexMoved):
        await chains.append(room, last=last, replaced=replaced, block=block_of(4))
    assert await numbers_in(chains, room) == [(3, [1, 2, 3])]


async def test_of_several_at_once_one_appends(database: Database) -> None:
    room, chains = new_room(), AuthChainStore(database)
    await chains.append(room, last=0, replaced=[], block=block_of(1))

    async def attempt(number: int) -> bool:
        replaced = [1] if number % 2 else []
        try:
            await chains.append(room, last=1, replaced=replaced, block=block_of(number))
        except (IndexMoved, DataError):
            return False
        return True

    done = await gatherResults([Deferred.fromCoroutine(attempt(number)) for number in range(2, 8)])
    assert sum(done) == 1
    winner = 2 + done.index(True)
    first = [] if winner % 2 else [(1, [1])]
    assert await numbers_in(chains, room) == [*first, (2, [winner])]
