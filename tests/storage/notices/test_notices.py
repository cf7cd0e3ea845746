# SPDX-License-Identifier: Apache-2.0
"""What notices say, alone and together, on each medium and back; what nobody understands is nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.commits.log import LogEntry
from storage.notices import packing, postgres_notices
from storage.notices.notices import Notice, merged, without_entry

POSITIONS = st.integers(0, 10**18 - 1)
ENTRIES = st.builds(
    lambda base, more, process, records, events: LogEntry(base, base + more, process, records, events),
    st.integers(0, 2**62),
    st.integers(1, 1000),
    st.text(max_size=20),
    st.binary(max_size=200),
    st.none() | st.binary(max_size=200),
)
NOTICES = st.builds(Notice, upto=POSITIONS, entry=st.none() | ENTRIES, processes=st.booleans())


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (Notice(), Notice(), Notice()),
        (Notice(upto=3), Notice(upto=2), Notice(upto=3)),
        (Notice(upto=3), Notice(processes=True), Notice(upto=3, processes=True)),
        (Notice(processes=True), Notice(upto=9), Notice(upto=9, processes=True)),
        (Notice(entry=LogEntry(4, 7, "a", b"")), Notice(upto=5), Notice(upto=7)),
    ],
)
def test_two_notices_are_one_that_says_both(first: Notice, second: Notice, both: Notice) -> None:
    assert merged(first, second) == both


@settings(max_examples=100)
@given(NOTICES)
def test_a_payload_of_postgresql_says_all(notice: Notice) -> None:
    payload = postgres_notices.payload_of(notice)
    assert len(payload) < (1000 if notice.entry is not None else 100)
    assert postgres_notices.notice_of(payload) == notice


@pytest.mark.parametrize(
    ("size", "carried"), [(0, True), (5_900, True), (6_000, False), (8_000, False), (10**6, False)]
)
def test_a_payload_of_postgresql_holds_small_entries(size: int, carried: bool) -> None:
    notice = Notice(
        upto=7, entry=LogEntry(4, 7, "a", bytes(size // 2), bytes(size - size // 2)), processes=True
    )
    payload = postgres_notices.payload_of(notice)
    assert len(payload.encode()) <= postgres_notices.LARGEST_PAYLOAD
    assert postgres_notices.notice_of(payload) == (notice if carried else without_entry(notice))


@settings(max_examples=100)
@given(NOTICES)
def test_a_message_of_redis_says_all(notice: Notice) -> None:
    assert packing.notice_of(packing.message_of(notice)) == notice


@pytest.mark.parametrize(
    "payload",
    ["", "a", "ap", "b", "b5", "bAAAA", "bäh", "b=", "a-5", "a5q", "a5 ", "a5\n", "a٥", "A5", "a" + "9" * 19],
)
def test_a_payload_that_makes_no_sense_is_none(payload: str) -> None:
    assert postgres_notices.notice_of(payload) is None


def packed(value: object) -> bytes:
    return b"\x01" + msgspec.msgpack.encode(value)


@pytest.mark.parametrize(
    "message",
    [
        None,
        5,
        "text",
        b"",
        b"\x01",
        b"\x02" + packed([5, False, None])[1:],
        packed([5, False, None]) + b"\x00",
        packed([5, False]),
        packed([-1, False, None]),
        packed([2**63, False, None]),
        packed({"upto": 5}),
        packed([5, False, [5, 5, "a", b"", None]]),
        packed([5, False, [6, 5, "a", b"", None]]),
        packed([5, False, [4, 5, "a", None, None]]),
        packed([5, False, [4, 5, b"\xff", b"", None]]),
        b"\x01" + b"\x93" * 5000,
    ],
)
def test_a_message_that_makes_no_sense_is_none(message: object) -> None:
    assert packing.notice_of(message) is None


@settings(max_examples=200)
@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_notice_or_none(tail: bytes, versioned: bool) -> None:
    assert isinstance(packing.notice_of(b"\x01" + tail if versioned else tail), Notice | None)


def test_an_entry_that_is_too_large_is_left_out() -> None:
    entry = LogEntry(4, 7, "a", bytes(packing.LARGEST_ENTRY), b"x")
    message = packing.message_of(Notice(entry=entry, processes=True))
    assert packing.notice_of(message) == Notice(upto=7, processes=True)
    assert without_entry(Notice(upto=9, entry=entry)) == Notice(upto=9)
