# SPDX-License-Identifier: Apache-2.0
"""The asking side of a connection between two processes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from time import perf_counter
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from federation.processes.link_complaints import Complaints
from federation.processes.link_counts import LinkCounts, tally
from federation.processes.link_handshake import LARGEST_HANDSHAKE_FRAME, AskingHandshake, HandshakeRefused
from federation.processes.link_protocol import (
    LARGEST_BODY,
    LARGEST_FRAME,
    MOST_IN_FLIGHT,
    Answered,
    Ask,
    Cancel,
    Farewell,
    Framed,
    LinkTimes,
    Outcome,
    PeerFailed,
    PeerUnreachable,
    Ping,
    decode_from_answering,
    encode,
)
from federation.processes.link_watch import Watch
from federation.processes.ownership import Peer
from storage.runtime.clock import Clock

MOST_BYTES_IN_FLIGHT = LARGEST_FRAME
"""Bytes of the questions on one connection that have no answer yet: they may lie in its buffer."""

_PING = encode(Ping())


@attrs.define(eq=False)
class _Waiting:
    """Somebody waits for an answer."""

    answer: Deferred[bytes]
    operation: str
    size: int
    began: float


class AskingConnection(Framed):
    """A connection to `peer`. `on_end` is called once, when nothing more can be asked on it.

    `ready` fires when the two processes are sure of each other, or fails with PeerUnreachable.
    """

    limit = LARGEST_HANDSHAKE_FRAME

    def __init__(
        self,
        *,
        peer: Peer,
        handshake: AskingHandshake,
        times: LinkTimes,
        clock: Clock,
        counts: LinkCounts,
        complaints: Complaints,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__()
        self.ready: Deferred[None] = Deferred(lambda _ready: self._end("the handshake took too long"))
        self.peer = peer
        self._handshake = handshake
        self._times = times
        self._clock = clock
        self._counts = counts
        self._complaints = complaints
        self._on_end = on_end
        self._watch: Watch | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._bytes = 0
        self._retired = False
        self._lost: Deferred[None] = Deferred()

    def ask(self, operation: str, body: bytes, *, cancellable: bool) -> Deferred[bytes]:
        """The answer. Raises PeerUnreachable at once where it cannot be asked."""
        if self.closed or self._retired:
            raise PeerUnreachable(f"The connection to {self.peer.process} has ended", handed_over=False)
        waiting = self._waiting
        size = len(body)
        if waiting and (len(waiting) >= MOST_IN_FLIGHT or self._bytes + size > MOST_BYTES_IN_FLIGHT):
            raise PeerUnreachable(f"The process {self.peer.process} owes too many answers", handed_over=False)
        if size > LARGEST_BODY:
            raise PeerFailed(f"{operation}: {size} bytes are too many to ask with")
        assert self._watch is not None, "asked before it was ready"
        if not waiting:
            self._watch.wait()
        number = next(self._numbers)
        answer: Deferred[bytes] = Deferred(functools.partial(self._cancel, number, cancellable))
        waiting[number] = _Waiting(answer, operation, size, perf_counter())
        self._bytes += size
        self._counts.asked_in_flight += 1
        self.send(encode(Ask(number, operation, body, cancellable)))
        return answer

    def retire(self) -> None:
        """Ask nothing more; the connection closes when all answers are here."""
        if not self._retired and not self.closed:
            self._retired = True
            self._on_end()
            self._close_when_done()

    def give_up(self) -> None:
        """Close at once, since the other process is dead; those who wait are told so."""
        if not self.closed:
            self._counts.given_up += 1
            self._end("it has not been heard of for too long")

    def abort(self) -> None:
        """Close at once; those who wait are told so."""
        self._end("this process stops")

    def when_lost(self) -> Deferred[None]:
        """Fires when the connection is gone."""
        lost: Deferred[None] = Deferred()
        self._lost.addCallback(lost.callback)
        return lost

    # What the transport calls

    def connectionMade(self) -> None:  # noqa: N802
        """The connection is there: begin the handshake."""
        super().connectionMade()
        self.send(self._handshake.begin())

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Bytes are here."""
        if self._watch is not None:
            self._watch.heard()
        super().dataReceived(data)

    def frame_received(self, frame: memoryview) -> None:
        """A message is here."""
        if self._watch is None:
            self._shake_hands(frame)
            return
        message = decode_from_answering(frame)
        if isinstance(message, Answered):
            self._answered(message)
        elif isinstance(message, Farewell):
            self.retire()

    def violated(self, text: str) -> None:
        """The other side broke the protocol."""
        if self._watch is None:
            self._counts.refused_handshakes += 1
        else:
            self._complaints.warn(
                f"The process {self.peer.process} at {self.peer.address} sent what it must not: {text}"
            )
        self._end(f"it sent what it must not: {text}")

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802
        """The connection is gone."""
        self._end(reason.getErrorMessage() if reason is not None else "it is gone")
        self._lost.callback(None)

    # How it goes on

    def _shake_hands(self, frame: memoryview) -> None:
        try:
            reply = self._handshake.receive(frame)
        except HandshakeRefused as refused:
            self._refuse(refused)
            return
        if reply is not None:
            self.send(reply)
        if self._handshake.done:
            self.limit = LARGEST_FRAME
            self._counts.asking += 1
            self._watch = Watch(
                clock=self._clock,
                times=self._times,
                ping=lambda: self.send(_PING),
                silent=self._fell_silent,
                idle=self.retire,
            )
            self.ready.callback(None)

    def _refuse(self, refused: HandshakeRefused) -> None:
        self._counts.refused_handshakes += 1
        if refused.refusal is not None:
            self.send(refused.refusal)
        self._end(str(refused), abort=False)

    def _answered(self, message: Answered) -> None:
        waiting = self._take(message.number, message.outcome.name.lower())
        if waiting is None:
            return
        if message.outcome is Outcome.DONE:
            waiting.answer.callback(message.body)
            return
        text = message.body.decode("utf-8", "replace")
        if message.outcome is Outcome.FAILED:
            waiting.answer.errback(PeerFailed(f"The process {self.peer.process}: {text}"))
        else:
            waiting.answer.errback(
                PeerUnreachable(f"The process {self.peer.process} refused: {text}", handed_over=False)
            )

    def _cancel(self, number: int, cancellable: bool, _answer: Deferred[bytes]) -> None:
        if self._take(number, "cancelled") is not None and cancellable:
            self.send(encode(Cancel(number)))

    def _take(self, number: int, outcome: str) -> _Waiting | None:
        """Nobody waits for this answer any more; None for one that nobody waited for."""
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return None
        self._bytes -= waiting.size
        self._counts.asked_in_flight -= 1
        tally(self._counts.asked, waiting.operation, outcome, perf_counter() - waiting.began)
        if not self._waiting:
            if self._watch is not None:
                self._watch.rest()
            self._close_when_done()
        return waiting

    def _close_when_done(self) -> None:
        if self._retired and not self._waiting and not self.closed:
            self._end("it was not needed any longer", abort=False)

    def _fell_silent(self) -> None:
        self._counts.given_up += 1
        self._complaints.warn(f"The process {self.peer.process} does not say a word any more: given up")
        self._end("it does not answer")

    def _end(self, text: str, *, abort: bool = True) -> None:
        """Close the connection, tell all who wait. `abort` drops what is not sent yet."""
        if self.closed:
            return
        self.closed = True
        transport: Any = self.transport
        if transport is not None:
            (transport.abortConnection if abort else transport.loseConnection)()
        if not self._retired:
            self._on_end()
        if self._watch is None:
            self.ready.errback(self._unreachable(text, handed_over=False))
            return
        self._watch.end()
        self._counts.asking -= 1
        for number in list(self._waiting):
            waiting = self._take(number, "lost")
            if waiting is not None:
                waiting.answer.errback(self._unreachable(text, handed_over=True))

    def _unreachable(self, text: str, *, handed_over: bool) -> PeerUnreachable:
        return PeerUnreachable(
            f"The process {self.peer.process} at {self.peer.address} cannot be reached: {text}",
            handed_over=handed_over,
        )
