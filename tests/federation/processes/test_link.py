# SPDX-License-Identifier: Apache-2.0
"""Processes that ask each other over TCP, and all that can go wrong with it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import attrs
import msgspec
import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol

from federation.processes import link_asking
from federation.processes.link import PeerFailed, PeerUnreachable
from federation.processes.link_handshake import VERSION, AnsweringHandshake, AskingHandshake, Hello
from federation.processes.link_protocol import LARGEST_BODY, LARGEST_FRAME, Ask, encode
from federation.processes.ownership import Peer
from tests.support.links import SECRET, TIMES, Stranger, connect, linked, listening, pause

ASKING = "federation.processes.link_complaints"


async def echo(body: bytes) -> bytes:
    return body


async def later(body: bytes) -> bytes:
    await pause(0.02)
    return body


async def failing(_body: bytes) -> bytes:
    raise ValueError("not like this")


class Slow:
    """An operation that ends when it is told to."""

    def __init__(self) -> None:
        self.begun: list[Deferred[bytes]] = []
        self.cancelled = 0
        self.finished = 0
        self.begins: Deferred[None] = Deferred()

    async def __call__(self, _body: bytes) -> bytes:
        running: Deferred[bytes] = Deferred()
        self.begun.append(running)
        if not self.begins.called:
            self.begins.callback(None)
        try:
            answer = await running
        except CancelledError:
            self.cancelled += 1
            raise
        self.finished += 1
        return answer


def asked(awaitable: Awaitable[Any]) -> Deferred[Any]:
    return Deferred.fromCoroutine(awaitable)


async def outcome(asking: Deferred[Any]) -> BaseException:
    """What it raises."""
    try:
        result = await asking
    except Exception as error:
        return error
    raise AssertionError(f"it returned {result!r:.100}")


def framed(message: Any) -> bytes:
    frame = encode(message)
    return len(frame).to_bytes(4, "big") + frame


async def wait_until(true: Any) -> None:
    for _ in range(300):
        if true():
            return
        await pause(0.01)
    raise AssertionError("it did not come true")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == ASKING]


# Questions and answers


async def test_many_ask_at_once_over_one_connection() -> None:
    async with linked("a") as a, linked("b", {"echo": echo, "later": later}) as b:
        asks = [
            asked(a.links.ask(b.peer, "later" if number % 3 else "echo", b"%d" % number))
            for number in range(300)
        ]
        answers = [await ask for ask in asks]
        assert answers == [b"%d" % number for number in range(300)]
        assert (a.counts.asking, b.counts.answering) == (1, 1)
        assert (a.counts.asked_in_flight, b.counts.answering_in_flight) == (0, 0)
        assert a.counts.asked["later", "done"].count == 200
        assert b.counts.answered["echo", "done"].count == 100


async def test_each_direction_has_its_own_connection() -> None:
    async with linked("a", {"echo": echo}) as a, linked("b", {"echo": echo}) as b:
        assert await a.links.ask(b.peer, "echo", b"from a") == b"from a"
        assert await b.links.ask(a.peer, "echo", b"from b") == b"from b"
        assert (a.counts.asking, a.counts.answering) == (1, 1)


@pytest.mark.parametrize("size", [0, 1, 65_536, 5_000_000])
async def test_bodies_arrive_byte_for_byte(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with linked("a") as a, linked("b", {"echo": echo}) as b:
        assert await a.links.ask(b.peer, "echo", body) == body


async def test_what_fails_over_there_fails_here(caplog: pytest.LogCaptureFixture) -> None:
    async with linked("a") as a, linked("b", {"failing": failing, "echo": echo}) as b:
        with pytest.raises(PeerFailed, match="its log says why"):
            await a.links.ask(b.peer, "failing", b"")
        assert "not like this" in caplog.text
        with pytest.raises(PeerFailed, match="no such operation"):
            await a.links.ask(b.peer, "unknown", b"")
        assert await a.links.ask(b.peer, "echo", b"still there") == b"still there"


async def test_operations_may_come_later_than_the_links() -> None:
    operations: dict[str, Any] = {}
    async with linked("a") as a, linked("b", operations) as b:
        operations["echo"] = echo
        assert await a.links.ask(b.peer, "echo", b"x") == b"x"


async def test_what_is_too_large_to_ask_or_answer_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def large(_body: bytes) -> bytes:
        return bytes(LARGEST_BODY + 1)

    async with linked("a") as a, linked("b", {"echo": echo, "large": large}) as b:
        with pytest.raises(PeerFailed, match="too many"):
            await a.links.ask(b.peer, "echo", bytes(LARGEST_BODY + 1))
        with pytest.raises(PeerFailed, match="too large"):
            await a.links.ask(b.peer, "large", b"")
        assert await a.links.ask(b.peer, "echo", b"x") == b"x"
        assert a.counts.asking == 1


# Who cannot be reached


async def test_nobody_listens_there() -> None:
    async with linked("a") as a:
        async with linked("b") as b:
            pass
        asks = [asked(a.links.ask(b.peer, "echo", b"")) for _ in range(3)]
        for ask in asks:
            error = await outcome(ask)
            assert isinstance(error, PeerUnreachable)
            assert not error.handed_over
        assert a.refused == [b.peer], "those who asked together"


@pytest.mark.parametrize("address", ["", "nonsense", "127.0.0.1:", ":::1", "127.0.0.1:99999999"])
async def test_an_address_that_is_none(address: str) -> None:
    async with linked("a") as a:
        error = await outcome(asked(a.links.ask(Peer("b", address), "echo", b"")))
        assert isinstance(error, PeerUnreachable)
        assert not error.handed_over


async def test_another_secret_is_refused_with_a_line_on_each_side(caplog: pytest.LogCaptureFixture) -> None:
    async with linked("a") as a, linked("b", {"echo": echo}, secret=b"o" * 32) as b:
        for _ in range(3):
            error = await outcome(asked(a.links.ask(b.peer, "echo", b"")))
            assert isinstance(error, PeerUnreachable)
            assert not error.handed_over
        await wait_until(lambda: b.counts.refused_handshakes == 3)
        said = lines(caplog)
        assert len(said) == 2
        assert all("must all use the same database" in line for line in said)
        assert "The process b at " in said[0]
        assert "calls itself 'a'" in said[1]
        assert (a.counts.asking, b.counts.answering) == (0, 0)


async def test_another_process_at_the_address() -> None:
    async with linked("a") as a, linked("c", {"echo": echo}) as c:
        error = await outcome(asked(a.links.ask(attrs.evolve(c.peer, process="b"), "echo", b"")))
        assert isinstance(error, PeerUnreachable)
        assert not error.handed_over
        assert "another process" in str(error)
        assert await a.links.ask(c.peer, "echo", b"x") == b"x"


async def test_a_listener_that_says_nothing_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    times = attrs.evolve(TIMES, handshake=0.2)
    async with linked("a", times=times) as a, listening(Protocol) as address:
        error = await outcome(asked(a.links.ask(Peer("b", address), "echo", b"")))
        assert isinstance(error, PeerUnreachable)
        assert not error.handed_over
        assert "took too long" in lines(caplog)[0]


class Talking(Protocol):
    """Says what is no handshake."""

    def connectionMade(self) -> None:  # noqa: N802
        self.transport.write(b"SSH-2.0-OpenSSH_9.6\r\n" + bytes(2000))


async def test_a_listener_of_another_kind(caplog: pytest.LogCaptureFixture) -> None:
    async with linked("a") as a, listening(Talking) as address:
        error = await outcome(asked(a.links.ask(Peer("b", address), "echo", b"")))
        assert isinstance(error, PeerUnreachable)
        assert not error.handed_over
        assert "1024 are allowed" in lines(caplog)[0]


# Strangers


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        (1025).to_bytes(4, "big"),
        b"\xff" * 4,
        b"\0\0\0\1\xc1",
        b"\0\0\0\0",
        (900).to_bytes(4, "big") + b"\x91" * 900,
    ],
)
async def test_garbage_ends_the_connection(sent: bytes) -> None:
    async with linked("b", {"echo": echo}) as b:
        stranger = await connect(b.peer.address)
        stranger.transport.write(sent)
        await stranger.lost
        assert b.counts.refused_handshakes == 1


async def test_a_question_before_the_handshake_is_not_answered() -> None:
    answered = []

    async def note(body: bytes) -> bytes:
        answered.append(body)
        return body

    async with linked("b", {"note": note}) as b:
        stranger = await connect(b.peer.address)
        stranger.send(encode(Ask(1, "note", b"x")))
        await stranger.lost
        stranger = await connect(b.peer.address)
        stranger.send(msgspec.msgpack.encode(Hello(VERSION, "a", b"n" * 32)))
        stranger.send(encode(Ask(1, "note", b"x")))
        await stranger.lost
        assert answered == []
        assert b.counts.refused_handshakes == 2


async def test_who_does_not_end_the_handshake_is_cut_off() -> None:
    async with linked("b", times=attrs.evolve(TIMES, handshake=0.1)) as b:
        silent = await connect(b.peer.address)
        half = await connect(b.peer.address)
        half.transport.write(b"\0\0\0\x40half a frame")
        await silent.lost
        await half.lost
        assert b.counts.refused_handshakes == 2


async def welcome(address: str) -> Stranger:
    """A connection of a process that knows the secret, after the handshake."""
    stranger = await connect(address)
    handshake = AskingHandshake(process="a", peer="b", secret=SECRET)
    stranger.send(handshake.begin())
    while not handshake.done:
        await wait_until(lambda: stranger.received)
        frame, stranger.received = stranger.received[4:], b""
        reply = handshake.receive(memoryview(frame))
        if reply is not None:
            stranger.send(reply)
    return stranger


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\1\xc1",
        b"\0\0\0\x03\x93\x09\x09",
        (LARGEST_FRAME + 1).to_bytes(4, "big"),
        (100_000).to_bytes(4, "big") + b"\x91" * 100_000,
        framed(Ask(1, "slow", b"")) * 2,
        framed(["ask", 1]),
        b"\0\0\0\x09\x94\x01\x01\xa4\xff\xff\xff\xff\x00",
        framed([1, "one", "echo", b""]),
    ],
)
async def test_garbage_for_a_question_ends_the_connection(sent: bytes) -> None:
    async with linked("b", {"echo": echo, "slow": Slow()}) as b:
        stranger = await welcome(b.peer.address)
        assert b.counts.answering == 1
        stranger.transport.write(sent)
        await stranger.lost
        assert b.counts.answering == 0
        for connection in list(b.links._answering.connections):
            for running in list(connection._running.values()):
                running.cancel()


async def test_half_a_question_is_none() -> None:
    begun = []

    async def note(body: bytes) -> bytes:
        begun.append(body)
        return body

    async with linked("b", {"note": note}) as b:
        stranger = await welcome(b.peer.address)
        stranger.transport.write(framed(Ask(1, "note", b"whole")) + framed(Ask(2, "note", b"half"))[:-1])
        stranger.transport.loseConnection()
        await stranger.lost
        await wait_until(lambda: b.counts.answering == 0)
        assert begun == [b"whole"]


class Cheating(Stranger):
    """Answers the handshake rightly, and then with what a test wants."""

    then = b""

    def __init__(self) -> None:
        super().__init__()
        self.handshake = AnsweringHandshake(process="b", secret=SECRET)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self.handshake.done:
            self.transport.write(self.then)
        else:
            self.send(self.handshake.receive(memoryview(data)[4:]))


@pytest.mark.parametrize(
    "then",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\1\xc1",
        b"\0\0\0\x03\x93\x09\x09",
        (100_000).to_bytes(4, "big") + b"\x91" * 100_000,
    ],
)
async def test_garbage_for_an_answer_ends_the_connection(then: bytes) -> None:
    cheating = type("Cheating", (Cheating,), {"then": then})
    async with linked("a") as a, listening(cheating) as address:
        error = await outcome(asked(a.links.ask(Peer("b", address), "echo", b"")))
        assert isinstance(error, PeerUnreachable)
        assert error.handed_over


async def test_answers_that_nobody_asked_for_are_passed_over() -> None:
    wrong, right = b"\x94\x01\x63\x00\xc4\x01x", b"\x94\x01\x01\x00\xc4\x01y"
    then = b"".join(len(frame).to_bytes(4, "big") + frame for frame in (wrong, right))
    cheating = type("Cheating", (Cheating,), {"then": then})
    async with linked("a") as a, listening(cheating) as address:
        assert await a.links.ask(Peer("b", address), "echo", b"") == b"y"


# Connections that break, and processes that stand still


async def test_a_connection_that_breaks_leaves_it_open_whether_it_was_done() -> None:
    slow = Slow()
    async with linked("a") as a, linked("b", {"slow": slow, "echo": echo}) as b:
        asks = [asked(a.links.ask(b.peer, "slow", b"")) for _ in range(3)]
        await wait_until(lambda: len(slow.begun) == 3)
        for connection in list(b.links._answering.connections):
            connection.transport.abortConnection()
        for ask in asks:
            error = await outcome(ask)
            assert isinstance(error, PeerUnreachable)
            assert error.handed_over
        assert await a.links.ask(b.peer, "echo", b"again") == b"again"
        await wait_until(lambda: slow.cancelled == 3)
        assert a.counts.asked["slow", "lost"].count == 3


async def test_a_peer_that_is_dead_is_waited_for_no_longer() -> None:
    slow = Slow()
    async with linked("a") as a, linked("b", {"slow": slow, "echo": echo}) as b:
        asks = [asked(a.links.ask(b.peer, "slow", b"")) for _ in range(3)]
        await wait_until(lambda: len(slow.begun) == 3)
        a.links.give_up(Peer("c", "127.0.0.1:1"))
        assert not any(ask.called for ask in asks)
        a.links.give_up(b.peer)
        for ask in asks:
            error = await outcome(ask)
            assert isinstance(error, PeerUnreachable)
            assert error.handed_over
        await wait_until(lambda: slow.cancelled == 3)
        assert a.counts.given_up == 1
        assert await a.links.ask(b.peer, "echo", b"it lives") == b"it lives"


async def test_a_dead_peer_that_is_being_connected_to_is_waited_for_no_longer() -> None:
    async with linked("a") as a, listening(Protocol) as address:
        peer = Peer("b", address)
        ask = asked(a.links.ask(peer, "echo", b""))
        await pause(0.02)
        assert not ask.called
        a.links.give_up(peer)
        error = await outcome(ask)
        assert isinstance(error, PeerUnreachable)
        assert not error.handed_over


async def test_what_can_be_cancelled_ends_with_the_connection() -> None:
    slow = Slow()
    async with linked("a") as a, linked("b", {"slow": slow}) as b:
        ask = asked(a.links.ask(b.peer, "slow", b"", cancellable=True))
        await slow.begins
        for connection in list(b.links._answering.connections):
            connection.transport.abortConnection()
        await outcome(ask)
        await wait_until(lambda: slow.cancelled == 1)


class Stuck(Cheating):
    """Ends the handshake, and then does not read and says nothing, as a process that is stopped."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if not self.handshake.done:
            super().dataReceived(data)


async def test_a_process_that_stands_still_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async with linked("a") as a, listening(Stuck) as address:
        began = reactor.seconds()
        asks = [asked(a.links.ask(Peer("b", address), "echo", b"")) for _ in range(2)]
        for ask in asks:
            error = await outcome(ask)
            assert isinstance(error, PeerUnreachable)
            assert error.handed_over
        assert 0.35 < reactor.seconds() - began < 3
        assert a.counts.given_up == 1
        assert "does not say a word" in lines(caplog)[0]


async def test_a_slow_answer_of_a_living_process_is_waited_for() -> None:
    slow = Slow()
    async with linked("a") as a, linked("b", {"slow": slow}) as b:
        ask = asked(a.links.ask(b.peer, "slow", b""))
        await slow.begins
        await pause(1.0)  # five times the silence after which it is pinged
        assert a.counts.given_up == 0
        slow.begun[0].callback(b"at last")
        assert await ask == b"at last"


async def test_an_idle_connection_is_closed_and_opened_again() -> None:
    times = attrs.evolve(TIMES, idle=0.2)
    async with linked("a", times=times) as a, linked("b", {"echo": echo}) as b:
        assert await a.links.ask(b.peer, "echo", b"x") == b"x"
        await wait_until(lambda: a.counts.asking == 0 and b.counts.answering == 0)
        assert await a.links.ask(b.peer, "echo", b"y") == b"y"
        assert a.counts.asked["echo", "done"].count == 2


# Those who do not wait any more


async def test_cancelling_ends_the_waiting_and_nothing_else() -> None:
    slow = Slow()
    async with linked("a") as a, linked("b", {"slow": slow, "echo": echo}) as b:
        ask = asked(a.links.ask(b.peer, "slow", b""))
        await slow.begins
        ask.cancel()
        assert isinstance(await outcome(ask), CancelledError)
        assert await a.links.ask(b.peer, "echo", b"x") == b"x"
        assert slow.cancelled == 0
        slow.begun[0].callback(b"late")
        assert await a.links.ask(b.peer, "echo", b"y") == b"y"


async def test_cancelling_ends_the_work_over_there_where_that_is_wanted() -> None:
    slow = Slow()
    async with linked("a") as a, linked("b", {"slow": slow}) as b:
        ask = asked(a.links.ask(b.peer, "slow", b"", cancellable=True))
        await slow.begins
        ask.cancel()
        assert isinstance(await outcome(ask), CancelledError)
        await wait_until(lambda: slow.cancelled == 1)
        assert b.counts.answering_in_flight == 0


async def test_who_stops_waiting_for_a_connection_leaves_the_others_alone() -> None:
    async with linked("a") as a, linked("b", {"echo": echo}) as b:
        first, second = (asked(a.links.ask(b.peer, "echo", body)) for body in (b"1", b"2"))
        first.cancel()
        assert isinstance(await outcome(first), CancelledError)
        assert await second == b"2"


# Limits


async def test_too_many_questions_are_refused_before_they_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_asking, "MOST_IN_FLIGHT", 5)
    slow = Slow()
    async with linked("a") as a, linked("b", {"slow": slow}) as b:
        asks = [asked(a.links.ask(b.peer, "slow", b"")) for _ in range(7)]
        await wait_until(lambda: len(slow.begun) == 5)
        for ask in asks[5:]:
            error = await outcome(ask)
            assert isinstance(error, PeerUnreachable)
            assert not error.handed_over
        for running in slow.begun:
            running.callback(b"")
        assert [await ask for ask in asks[:5]] == [b""] * 5


async def test_too_many_bytes_are_refused_before_they_are_sent() -> None:
    slow = Slow()
    async with linked("a") as a, linked("b", {"slow": slow}) as b:
        half = bytes(LARGEST_BODY // 2 + 1_000_000)
        first, second = (asked(a.links.ask(b.peer, "slow", half)) for _ in range(2))
        error = await outcome(second)
        assert isinstance(error, PeerUnreachable)
        assert not error.handed_over
        await slow.begins
        slow.begun[0].callback(b"")
        assert await first == b""


async def test_who_does_not_read_answers_is_not_read_either() -> None:
    """Answers do not pile up without end: the answering side takes no more questions meanwhile."""
    begun = []

    async def large(_body: bytes) -> bytes:
        begun.append(1)
        return bytes(1_000_000)

    async with linked("a") as a, linked("b", {"large": large, "echo": echo}) as b:
        await a.links.ask(b.peer, "echo", b"")
        (connection,) = a.links._asking
        connection.transport.pauseProducing()
        # One after the other: those that are in one read are begun together.
        asks = []
        for _ in range(60):
            asks.append(asked(a.links.ask(b.peer, "large", b"")))
            await pause(0.001)
        await pause(0.1)
        assert len(begun) < 60
        connection.transport.resumeProducing()
        assert [len(await ask) for ask in asks] == [1_000_000] * 60


# The end


async def test_stopping_answers_what_is_owed_and_begins_nothing_more() -> None:
    slow = Slow()
    async with linked("a") as a, linked("b", {"slow": slow, "echo": echo}) as b:
        owed = asked(a.links.ask(b.peer, "slow", b""))
        await slow.begins
        (connection,) = a.links._asking
        stopped = asked(b.links.stop())
        refused = connection.ask("echo", b"", cancellable=False)  # on its way with the farewell
        error = await outcome(refused)
        assert isinstance(error, PeerUnreachable)
        assert not error.handed_over
        assert not stopped.called
        slow.begun[0].callback(b"owed")
        assert await owed == b"owed"
        await stopped
        error = await outcome(asked(a.links.ask(b.peer, "echo", b"")))
        assert isinstance(error, PeerUnreachable)
        assert not error.handed_over
        assert (a.counts.asking, b.counts.answering) == (0, 0)


async def test_stopping_waits_for_work_whose_connection_is_gone() -> None:
    ending: Deferred[None] = Deferred()
    begun: Deferred[None] = Deferred()

    async def tidy(_body: bytes) -> bytes:
        begun.callback(None)
        try:
            return await Deferred()
        finally:
            await ending

    async with linked("a") as a, linked("b", {"tidy": tidy}) as b:
        owed = asked(a.links.ask(b.peer, "tidy", b""))
        await begun
        (connection,) = a.links._asking
        connection.transport.abortConnection()
        await outcome(owed)
        stopped = asked(b.links.stop())
        await pause(0.05)
        assert not stopped.called
        ending.callback(None)
        await stopped


async def test_stopping_is_bounded_by_the_caller() -> None:
    slow = Slow()
    async with linked("a") as a, linked("b", {"slow": slow}) as b:
        owed = asked(a.links.ask(b.peer, "slow", b""))
        await slow.begins
        stopped = asked(b.links.stop())
        await pause(0.05)
        stopped.cancel()
        assert isinstance(await outcome(stopped), CancelledError)
        error = await outcome(owed)
        assert isinstance(error, PeerUnreachable)
        assert error.handed_over
        slow.begun[0].callback(b"")


async def test_stopping_does_not_wait_for_strangers_and_those_who_do_not_close() -> None:
    async with linked("b", {"echo": echo}) as b:
        await connect(b.peer.address)
        await pause(0.05)
        began = reactor.seconds()
        await b.links.stop()
        assert reactor.seconds() - began < 0.2


async def test_who_stops_gives_up_what_it_waits_for() -> None:
    slow = Slow()
    async with linked("a") as a, linked("b", {"slow": slow}) as b:
        waiting = asked(a.links.ask(b.peer, "slow", b""))
        await slow.begins
        await a.links.stop()
        error = await outcome(waiting)
        assert isinstance(error, PeerUnreachable)
        assert error.handed_over
        slow.begun[0].callback(b"")


async def test_stopping_ends_a_connection_that_is_being_opened() -> None:
    async with linked("a") as a, listening(Protocol) as address:
        asks = [asked(a.links.ask(Peer("b", address), "echo", b"")) for _ in range(2)]
        await pause(0.05)
        await a.links.stop()
        for ask in asks:
            error = await outcome(ask)
            assert isinstance(error, PeerUnreachable)
            assert not error.handed_over
