# SPDX-License-Identifier: Apache-2.0
"""Two processes make sure of each other; nobody else gets in."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.processes.link_handshake import (
    VERSION,
    AnsweringHandshake,
    AskingHandshake,
    Challenge,
    HandshakeRefused,
    Hello,
    Proof,
    Refusal,
    Welcome,
)

SECRET = b"s" * 32
encode = msgspec.msgpack.encode


def asking(peer: str = "b", secret: bytes = SECRET, process: str = "a") -> AskingHandshake:
    return AskingHandshake(process=process, peer=peer, secret=secret)


def answering(process: str = "b", secret: bytes = SECRET) -> AnsweringHandshake:
    return AnsweringHandshake(process=process, secret=secret)


def view(frame: bytes | None) -> memoryview:
    assert frame is not None
    return memoryview(frame)


def refusal(error: HandshakeRefused) -> str:
    assert error.refusal is not None
    return msgspec.msgpack.decode(error.refusal, type=Refusal).reason


def test_both_know_each_other_after_four_messages() -> None:
    one, two = asking(), answering()
    challenge = two.receive(view(one.begin()))
    assert not two.done
    proof = one.receive(view(challenge))
    assert not one.done
    welcome = two.receive(view(proof))
    assert two.done
    assert two.peer == "a"
    assert one.receive(view(welcome)) is None
    assert one.done


def test_the_asking_side_finds_another_secret_first_and_says_what_to_do() -> None:
    one, two = asking(), answering(secret=b"t" * 32)
    challenge = two.receive(view(one.begin()))
    with pytest.raises(HandshakeRefused, match="same database") as refused:
        one.receive(view(challenge))
    assert refusal(refused.value) == "secret"
    with pytest.raises(HandshakeRefused, match="same database") as told:
        two.receive(view(refused.value.refusal))
    assert told.value.refusal is None
    assert not one.done
    assert not two.done


def test_the_answering_side_checks_the_proof_itself() -> None:
    two = answering()
    two.receive(view(encode(Hello(VERSION, "a", b"n" * 32))))
    with pytest.raises(HandshakeRefused) as refused:
        two.receive(view(encode(Proof(b"p" * 32))))
    assert refusal(refused.value) == "secret"
    assert not two.done


def test_a_proof_is_worth_nothing_in_the_other_direction() -> None:
    """Who does not know the secret sends the challenge's proof back as his own."""
    two = answering()
    challenge = msgspec.msgpack.decode(
        two.receive(view(encode(Hello(VERSION, "a", b"n" * 32)))), type=Challenge
    )
    with pytest.raises(HandshakeRefused):
        two.receive(view(encode(Proof(challenge.proof))))


def test_a_process_does_not_talk_to_its_own_reflection() -> None:
    """A stranger who is asked lets the asking process's own port answer, under another name."""
    one, itself = asking(peer="b", process="a"), answering(process="a")
    challenge = itself.receive(view(one.begin()))
    with pytest.raises(HandshakeRefused) as refused:
        one.receive(view(challenge))
    assert refusal(refused.value) == "process"
    renamed = challenge_in(challenge)
    forged = encode(Challenge("b", renamed.nonce, renamed.proof))
    with pytest.raises(HandshakeRefused) as refused:
        asking(peer="b", process="a").receive(view(forged))
    assert refusal(refused.value) == "secret"


def challenge_in(frame: bytes) -> Challenge:
    return msgspec.msgpack.decode(frame, type=Challenge)


def test_a_proof_is_worth_nothing_a_second_time() -> None:
    one, two, again = asking(), answering(), answering()
    hello = one.begin()
    proof = one.receive(view(two.receive(view(hello))))
    again.receive(view(hello))
    with pytest.raises(HandshakeRefused):
        again.receive(view(proof))
    assert not again.done


def test_another_process_at_the_address_is_not_asked() -> None:
    one = asking(peer="b")
    challenge = answering(process="c").receive(view(one.begin()))
    with pytest.raises(HandshakeRefused, match="another process answers") as refused:
        one.receive(view(challenge))
    assert refusal(refused.value) == "process"


def test_another_version_is_refused() -> None:
    with pytest.raises(HandshakeRefused, match="same release") as refused:
        answering().receive(view(encode(Hello(VERSION + 1, "a", b"n" * 32))))
    assert refusal(refused.value) == "version"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x91" * 1000,
        b"\x91\xa1\x80",
        encode(["hello", VERSION, "a", b"n" * 32, *[0] * 3])[:-4],
        encode(["hello", VERSION, "\ud800".encode("utf-8", "surrogatepass"), b"n" * 32]),
        encode(Hello(VERSION, "a", b"short")),
        encode(Proof(b"p" * 32)),
        encode(Welcome()),
        encode(Challenge("a", b"n" * 32, b"p" * 32)),
        encode(["refusal", "whatever"]),
    ],
)
def test_what_is_no_hello_is_refused(frame: bytes) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        answering().receive(view(frame))
    assert refused.value.reason == "malformed"


@given(frames=st.lists(st.binary(max_size=200), min_size=1, max_size=3))
@settings(max_examples=200)
def test_no_bytes_make_either_side_sure_or_fail_otherwise(frames: list[bytes]) -> None:
    for side in (asking(), answering()):
        if isinstance(side, AskingHandshake):
            side.begin()
        for frame in frames:
            with pytest.raises(HandshakeRefused):
                side.receive(view(frame))
        assert not side.done


def test_a_welcome_before_the_proof_is_none() -> None:
    one = asking()
    one.begin()
    with pytest.raises(HandshakeRefused):
        one.receive(view(encode(Welcome())))
    assert not one.done


def test_a_second_proof_is_refused() -> None:
    one, two = asking(), answering()
    proof = one.receive(view(two.receive(view(one.begin()))))
    two.receive(view(proof))
    with pytest.raises(HandshakeRefused):
        two.receive(view(proof))
