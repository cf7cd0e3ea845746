# SPDX-License-Identifier: Apache-2.0
"""Processes that share sockets know who has fewer connections."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from federation.http.connection_shares import ConnectionShares


@pytest.fixture
def shares() -> Iterator[list[ConnectionShares]]:
    """Those of three processes."""
    with tempfile.TemporaryFile() as file:
        ConnectionShares.make_file(file.fileno(), 3)
        yield [ConnectionShares(file.fileno(), processes=3, index=index) for index in range(3)]


def test_whoever_has_fewest_goes_first(shares: list[ConnectionShares]) -> None:
    for one in shares:
        one.join()
    assert [one.is_our_turn() for one in shares] == [True, True, True]
    shares[0].opened()
    assert [one.is_our_turn() for one in shares] == [False, True, True]
    shares[1].opened()
    assert [one.is_our_turn() for one in shares] == [False, False, True]
    shares[0].closed()
    assert [one.is_our_turn() for one in shares] == [True, False, True]


def test_those_who_do_not_accept_are_not_waited_for(shares: list[ConnectionShares]) -> None:
    first, second, third = shares
    first.join()
    first.opened()
    assert first.is_our_turn()
    second.join()
    assert not first.is_our_turn()
    second.leave()
    assert first.is_our_turn()
    third.join()
    first.remove(2)  # it died
    assert first.is_our_turn()


def test_connections_that_end_after_leaving_do_not_bring_it_back(shares: list[ConnectionShares]) -> None:
    first, second, _ = shares
    for one in (first, second):
        one.join()
        one.opened()
    second.leave()
    second.closed()
    first.opened()
    assert first.is_our_turn()


def test_a_file_that_is_too_short(tmp_path: object) -> None:
    with tempfile.TemporaryFile() as file, pytest.raises(ValueError, match="mmap length"):
        ConnectionShares(file.fileno(), processes=3)
