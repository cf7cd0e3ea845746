# SPDX-License-Identifier: Apache-2.0
"""The answering side of a connection between two processes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, TypeAlias

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from federation.processes.link_complaints import Complaints
from federation.processes.link_counts import LinkCounts, tally
from federation.processes.link_handshake import LARGEST_HANDSHAKE_FRAME, AnsweringHandshake, HandshakeRefused
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
    Pong,
    ProtocolViolation,
    decode_from_asking,
    encode,
)
from storage.runtime.clock import Clock, DelayedCall

logger = logging.getLogger(__name__)

Operation: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Answers questions of one kind. What it raises is logged, and the other process learns that it failed."""

_PONG = encode(Pong())
_FAREWELL = encode(Farewell())
_FORGOTTEN = 4
"""So many times longer than the asking side the answering one waits until it closes an idle connection."""


@attrs.frozen(eq=False)
class AnsweringGround:
    """What all connections of a process share that it answers on."""

    operations: Mapping[str, Operation]
    times: LinkTimes
    clock: Clock
    counts: LinkCounts
    complaints: Complaints
    connections: set[AnsweringConnection] = attrs.field(factory=set)
    """Those that are open, or whose questions are still worked on."""


@implementer(IPushProducer)
class AnsweringConnection(Framed):
    """A connection of another process."""

    limit = LARGEST_HANDSHAKE_FRAME

    def __init__(self, *, ground: AnsweringGround, handshake: AnsweringHandshake) -> None:
        super().__init__()
        self._ground = ground
        self._handshake = handshake
        self._stopping = False
        self._running: dict[int, Deferred[None]] = {}
        self._cancellable: set[int] = set()
        self._heard = 0.0
        self._overdue: DelayedCall | None = None
        self._lost = False
        self._gone: list[Deferred[None]] = []

    def say_farewell(self) -> None:
        """Begin with nothing more; what is owed will be answered."""
        self._stopping = True
        if not self._handshake.done:
            self.abort()
        elif not self.closed:
            self.send(_FAREWELL)

    @property
    def owes(self) -> bool:
        """Whether something is worked on."""
        return bool(self._running)

    def when_gone(self) -> Deferred[None]:
        """Fires when the connection is gone and nothing is worked on any more."""
        gone: Deferred[None] = Deferred(self._gone.remove)
        self._gone.append(gone)
        return gone

    def abort(self) -> None:
        """Close at once."""
        self.closed = True
        transport: Any = self.transport
        transport.abortConnection()

    # What the transport calls

    def connectionMade(self) -> None:  # noqa: N802
        """The connection is there."""
        super().connectionMade()
        self._ground.connections.add(self)
        self._heard = self._ground.clock.seconds()
        self._overdue = self._ground.clock.callLater(self._ground.times.handshake, self._late)
        transport: Any = self.transport
        transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Bytes are here."""
        self._heard = self._ground.clock.seconds()
        super().dataReceived(data)

    def frame_received(self, frame: memoryview) -> None:
        """A message is here."""
        if not self._handshake.done:
            self._shake_hands(frame)
            return
        message = decode_from_asking(frame)
        if isinstance(message, Ask):
            self._begin(message)
        elif isinstance(message, Cancel):
            running = self._running.get(message.number)
            if running is not None and message.number in self._cancellable:
                running.cancel()
        else:
            self.send(_PONG)

    def violated(self, text: str) -> None:
        """The other side broke the protocol."""
        if not self._handshake.done:
            self._ground.counts.refused_handshakes += 1
        self._ground.complaints.warn(f"{self._who()} sent what it must not: {text}")
        self.abort()

    def connectionLost(self, _reason: Failure | None = None) -> None:  # noqa: N802
        """The connection is gone: end all that was asked.

        Whoever asked may have somebody else do it by now. Done here later still, as by a process that stood
        still, it would undo what has been written since.
        """
        self.closed = self._lost = True
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        if self._handshake.done:
            self._ground.counts.answering -= 1
        for running in list(self._running.values()):
            running.cancel()
        self._go()

    def pauseProducing(self) -> None:  # noqa: N802
        """The other side does not read the answers: take no more questions."""
        transport: Any = self.transport
        transport.pauseProducing()

    def resumeProducing(self) -> None:  # noqa: N802
        """It has read them."""
        transport: Any = self.transport
        transport.resumeProducing()

    def stopProducing(self) -> None:  # noqa: N802
        """The connection is gone."""

    # How it goes on

    def _shake_hands(self, frame: memoryview) -> None:
        try:
            self.send(self._handshake.receive(frame))
        except HandshakeRefused as refused:
            self._refuse(refused)
            return
        if self._handshake.done:
            self.limit = LARGEST_FRAME
            self._ground.counts.answering += 1

    def _refuse(self, refused: HandshakeRefused) -> None:
        self._ground.counts.refused_handshakes += 1
        self._ground.complaints.warn(f"{self._who()} wants to ask, and cannot: {refused}")
        self.closed = True
        if refused.refusal is not None:
            self.send(refused.refusal)
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()

    def _late(self) -> None:
        """The handshake took too long, or the other side is gone without a word."""
        self._overdue = None
        times, clock = self._ground.times, self._ground.clock
        if not self._handshake.done:
            if not self.closed:
                self._ground.counts.refused_handshakes += 1
                self._ground.complaints.warn(f"{self._who()} did not end the handshake in time")
            self.abort()
            return
        if not self._running and clock.seconds() - self._heard > _FORGOTTEN * times.idle:
            self.abort()
            return
        self._overdue = clock.callLater(_FORGOTTEN * times.idle, self._late)

    def _begin(self, ask: Ask) -> None:
        if ask.number in self._running:
            raise ProtocolViolation(f"the question {ask.number} twice")
        operation = self._ground.operations.get(ask.operation)
        if operation is None:
            self._answer(ask, "other", Outcome.FAILED, b"there is no such operation", 0.0)
        elif self._stopping:
            self._answer(ask, ask.operation, Outcome.REFUSED, b"it stops", 0.0)
        elif len(self._running) >= MOST_IN_FLIGHT:
            self._answer(ask, ask.operation, Outcome.REFUSED, b"it has too much to do", 0.0)
        else:
            self._ground.counts.answering_in_flight += 1
            running = Deferred.fromCoroutine(self._run(ask, operation))
            if not running.called:
                self._running[ask.number] = running
                if ask.cancellable:
                    self._cancellable.add(ask.number)

    async def _run(self, ask: Ask, operation: Operation) -> None:
        began = perf_counter()
        try:
            outcome, body = Outcome.DONE, await operation(ask.body)
            if len(body) > LARGEST_BODY:
                logger.error("The answer to %s has %d bytes, too many for a link", ask.operation, len(body))
                outcome, body = Outcome.FAILED, b"the answer is too large"
        except CancelledError:
            outcome, body = Outcome.FAILED, b"cancelled"
        except Exception as error:
            logger.error("Another process asked for %s, which failed", ask.operation, exc_info=error)
            outcome, body = Outcome.FAILED, b"it failed; its log says why"
        self._running.pop(ask.number, None)
        self._cancellable.discard(ask.number)
        self._ground.counts.answering_in_flight -= 1
        self._answer(ask, ask.operation, outcome, body, perf_counter() - began)
        if self._lost:
            self._go()

    def _answer(self, ask: Ask, operation: str, outcome: Outcome, body: bytes, seconds: float) -> None:
        tally(self._ground.counts.answered, operation, outcome.name.lower(), seconds)
        if not self.closed:
            self.send(encode(Answered(ask.number, outcome, body)))

    def _go(self) -> None:
        if not self._running:
            self._ground.connections.discard(self)
            gone, self._gone = self._gone, []
            for deferred in gone:
                deferred.callback(None)

    def _who(self) -> str:
        transport: Any = self.transport
        host = getattr(transport.getPeer(), "host", "a UNIX socket")
        process = self._handshake.peer
        return f"A process at {host} that calls itself {process!r:.100}" if process else f"Somebody at {host}"
