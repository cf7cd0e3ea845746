# SPDX-License-Identifier: Apache-2.0
"""Frames, however the bytes arrive."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport

from federation.processes.link_protocol import (
    Answered,
    Ask,
    Framed,
    Outcome,
    ProtocolViolation,
    decode_from_answering,
    decode_from_asking,
    encode,
)


class Collecting(Framed):
    """Keeps the frames."""

    limit = 1000

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[bytes] = []
        self.violations: list[str] = []

    def frame_received(self, frame: memoryview) -> None:
        if frame == b"wrong":
            raise ProtocolViolation("wrong")
        self.frames.append(bytes(frame))

    def violated(self, text: str) -> None:
        self.violations.append(text)
        self.closed = True


# How messages begin: an array, its kind, a number, and perhaps a text.
MESSAGES = st.sampled_from([b"\x91", b"\x92\x01", b"\x94\x01\x07", b"\x95\x01\x07\xa4", b"\x92\x02\x07"])


def framed(*frames: bytes) -> bytes:
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


@given(
    frames=st.lists(st.binary(max_size=300), max_size=6),
    cuts=st.lists(st.integers(0, 1500), max_size=20),
)
@settings(max_examples=200)
def test_frames_come_out_as_they_went_in(frames: list[bytes], cuts: list[int]) -> None:
    sent = framed(*frames)
    receiving = Collecting()
    places = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    for start, end in itertools.pairwise(places):
        receiving.dataReceived(sent[start:end])
    assert receiving.frames == frames
    assert receiving.violations == []


def test_byte_by_byte() -> None:
    receiving = Collecting()
    for byte in framed(b"", b"one", b"", b"two"):
        receiving.dataReceived(bytes([byte]))
    assert receiving.frames == [b"", b"one", b"", b"two"]


def test_a_frame_that_is_too_long_is_refused_by_its_length_alone() -> None:
    receiving = Collecting()
    receiving.dataReceived(framed(b"x" * 1000) + (1001).to_bytes(4, "big"))
    assert receiving.frames == [b"x" * 1000]
    assert receiving.violations == ["a message of 1001 bytes, where 1000 are allowed"]


def test_nothing_is_looked_at_after_a_violation() -> None:
    receiving = Collecting()
    receiving.dataReceived(framed(b"right", b"wrong", b"later"))
    receiving.dataReceived(framed(b"much later"))
    assert receiving.frames == [b"right"]
    assert receiving.violations == ["wrong"]


def test_sending_writes_the_length_first() -> None:
    sending, transport = Collecting(), StringTransport()
    sending.transport = transport
    sending.send(b"hello")
    sending.send(b"")
    assert transport.value() == b"\0\0\0\5hello\0\0\0\0"


class Deciphering(Collecting):
    """Takes its frames for messages."""

    def __init__(self, decode: Callable[[memoryview], object]) -> None:
        super().__init__()
        self.decode = decode

    def frame_received(self, frame: memoryview) -> None:
        self.decode(frame)


@given(st.binary(max_size=60) | st.builds(lambda start, rest: start + rest, MESSAGES, st.binary(max_size=60)))
@settings(max_examples=300)
def test_bytes_are_a_message_or_a_violation(frame: bytes) -> None:
    for decode in (decode_from_asking, decode_from_answering):
        receiving = Deciphering(decode)
        receiving.dataReceived(framed(frame))
        assert len(receiving.violations) <= 1


@pytest.mark.parametrize("number", [1, 2**31, 2**53])
def test_messages_come_out_as_they_went_in(number: int) -> None:
    ask = Ask(number, "request", b"\0\xff", True)
    assert decode_from_asking(encode(ask)) == ask
    answered = Answered(number, Outcome.REFUSED, b"\0\xff")
    assert decode_from_answering(encode(answered)) == answered
