# SPDX-License-Identifier: Apache-2.0
"""What two processes say to each other: frames of a length and msgpack, and what becomes of a question.

A frame is its length in four bytes, the most significant first, and one message. The side that connected asks
and the other one answers; who wants to ask in the other direction opens another connection.
"""

from __future__ import annotations

import enum
from typing import Any, TypeAlias

import attrs
import msgspec
from twisted.internet.protocol import Protocol

LARGEST_FRAME = 64 * 1024 * 1024
"""Bytes of a message between processes that know each other."""

LARGEST_BODY = LARGEST_FRAME - 64 * 1024
"""Bytes of what is asked and of what is answered."""

MOST_IN_FLIGHT = 10_000
"""Questions on one connection that have no answer yet."""

_LENGTH = 4


class PeerUnreachable(Exception):
    """There is no answer from the other process.

    `handed_over` is False where it has certainly not begun with what was asked: it may be asked again.
    """

    def __init__(self, message: str, *, handed_over: bool) -> None:
        super().__init__(message)
        self.handed_over = handed_over


class PeerFailed(Exception):
    """The other process tried, and failed for a reason that it has logged."""


@attrs.frozen
class LinkTimes:
    """How long a link waits, in seconds."""

    handshake: float = 5.0
    """From the first attempt to connect to the end of the handshake."""
    quiet: float = 5.0
    """Without a word from a process that owes answers, until it is asked whether it is still there."""
    pong: float = 5.0
    """For its answer to that; after that the connection is given up."""
    idle: float = 60.0
    """Until a connection that nobody asks on is closed."""
    farewell: float = 5.0
    """For the other side to close the connection of a process that stops."""


class Outcome(enum.IntEnum):
    """What became of a question."""

    DONE = 0
    FAILED = 1
    REFUSED = 2
    """Not begun: the process stops, or has too much to do."""


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """A question. One that may be `cancelled` ends when nobody waits for it any more."""

    number: int
    operation: str
    body: bytes
    cancellable: bool = False


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """Nobody waits for this answer any more."""

    number: int


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """Are you still there?"""


class Answered(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """What became of the question of this number; where it is not done, `body` is a text that says why."""

    number: int
    outcome: Outcome
    body: bytes


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """Yes."""


class Farewell(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """This process stops: what it owes will come, more it will refuse; close when you have it all."""


FromAsking: TypeAlias = Ask | Cancel | Ping
FromAnswering: TypeAlias = Answered | Pong | Farewell

encode = msgspec.msgpack.Encoder().encode
decode_from_asking = msgspec.msgpack.Decoder(FromAsking).decode
decode_from_answering = msgspec.msgpack.Decoder(FromAnswering).decode

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no message: no msgpack, no UTF-8, nested too deeply."""


class ProtocolViolation(Exception):
    """The other side sent what it must not send; the connection ends."""


class Framed(Protocol):
    """A connection that carries frames.

    The parts of a frame are joined once, when all are here: what collects them by adding each to the ones
    before (as twisted's receivers do) copies a large frame hundreds of times.
    """

    limit = LARGEST_FRAME
    """Bytes that a frame may have."""
    closed = False
    """Whether nothing that still arrives is looked at."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0
        self._wanted = _LENGTH

    def frame_received(self, frame: memoryview) -> None:
        """A frame is here. Raises ProtocolViolation, or one of UNDECODABLE."""
        raise NotImplementedError

    def violated(self, text: str) -> None:
        """The other side broke the protocol."""
        raise NotImplementedError

    def send(self, frame: bytes) -> None:
        """Hand an encoded message to the transport, which sends all those of one turn together."""
        transport: Any = self.transport
        transport.writeSequence((len(frame).to_bytes(_LENGTH, "big"), frame))

    def connectionMade(self) -> None:  # noqa: N802
        """The connection is there."""
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Bytes are here."""
        if self.closed:
            return
        if self._parts:
            self._parts.append(data)
            self._held += len(data)
            if self._held < self._wanted:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        try:
            rest = self._take_frames(memoryview(data))
        except (ProtocolViolation, *UNDECODABLE) as error:
            self.violated(str(error))
            return
        if rest:
            self._parts.append(bytes(rest))
            self._held = len(rest)

    def _take_frames(self, data: memoryview) -> memoryview:
        """What is left behind the last whole frame. Raises as `frame_received` does."""
        start, end = 0, len(data)
        while not self.closed:
            self._wanted = _LENGTH
            if end - start < _LENGTH:
                return data[start:]
            length = int.from_bytes(data[start : start + _LENGTH], "big")
            if length > self.limit:
                raise ProtocolViolation(f"a message of {length} bytes, where {self.limit} are allowed")
            self._wanted = _LENGTH + length
            if end - start < self._wanted:
                return data[start:]
            start += self._wanted
            self.frame_received(data[start - length : start])
        return data[:0]
