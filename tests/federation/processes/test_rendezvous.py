# SPDX-License-Identifier: Apache-2.0
"""Rendezvous hashing: one answer for all, little moves, and nobody gets much more than others."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.processes.rendezvous import owner

names = st.text(max_size=40)
several = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=8, unique=True)


@given(name=names, processes=several, data=st.data())
@settings(max_examples=100)
def test_the_order_of_the_processes_is_of_no_account(
    name: str, processes: list[str], data: st.DataObject
) -> None:
    found = owner(name, processes)
    assert found in processes
    assert owner(name, data.draw(st.permutations(processes))) == found


@given(name=names, processes=several, data=st.data())
@settings(max_examples=100)
def test_only_the_names_of_a_process_that_goes_move(
    name: str, processes: list[str], data: st.DataObject
) -> None:
    found = owner(name, [*processes, "another one that comes"])
    if found != "another one that comes":
        assert owner(name, processes) == found
    gone = data.draw(st.sampled_from(processes))
    before, rest = owner(name, processes), [process for process in processes if process != gone]
    if rest and before != gone:
        assert owner(name, rest) == before


@pytest.mark.parametrize("count", [2, 3, 8])
def test_each_gets_about_as_many_names(count: int) -> None:
    processes = [f"host-{number}:1234" for number in range(count)]
    owned = Counter(owner(f"!room{number}:example.org", processes) for number in range(4000))
    fair = 4000 / count
    assert set(owned) == set(processes)
    assert all(0.8 * fair < owned[process] < 1.2 * fair for process in processes)


def test_the_names_of_one_that_goes_are_spread_over_the_others() -> None:
    processes = ["a", "b", "c", "d"]
    rooms = [f"!room{number}:example.org" for number in range(4000)]
    moved = Counter(owner(room, processes[:3]) for room in rooms if owner(room, processes) == "d")
    assert all(
        0.7 * moved.total() / 3 < moved[process] < 1.3 * moved.total() / 3 for process in processes[:3]
    )


def test_the_highest_hash_owns() -> None:
    """Releases that run side by side must agree: it is blake2b, 16 bytes, over the process, NUL, the name."""
    processes = ["one", "two", "three"]
    for room in ("!a:example.org", "!ü:example.org", ""):
        hashes = {p: blake2b(f"{p}\0{room}".encode(), digest_size=16).digest() for p in processes}
        assert owner(room, processes) == max(processes, key=lambda p: hashes[p])


def test_a_name_that_is_no_unicode_has_an_owner() -> None:
    assert owner("\ud800", ["one", "two"]) in ("one", "two")


def test_somebody_must_be_there() -> None:
    with pytest.raises(ValueError, match="empty"):
        owner("!a:example.org", [])
