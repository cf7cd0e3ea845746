# SPDX-License-Identifier: Apache-2.0
"""How two processes make sure of each other before they talk: both prove that they know the secret.

The one that connects says hello with a nonce; the other one answers with its own and a proof; the first one
checks it and proves itself; then it is welcome. A proof is an HMAC-SHA256 over the role, both processes and
both nonces: it is worth nothing in the other direction, to a third process, or a second time. Whoever does
not know the secret learns nothing and is heard no further.

The connection is authenticated where it begins; it is not encrypted. It belongs on the loopback interface or
in a network that nobody else can write to, as the one to the database does.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Literal, TypeAlias

import msgspec

from federation.processes.link_protocol import UNDECODABLE

VERSION = 1
"""The version of the link's protocol; processes of different ones do not talk."""

LARGEST_HANDSHAKE_FRAME = 1024
_NONCE = 32  # bytes
_LABEL = "trellis link"

Reason: TypeAlias = Literal["version", "secret", "process", "malformed"]

_ADVICE: dict[Reason, str] = {
    "version": "it speaks another version of the protocol: run the same release of Trellis in all processes",
    "secret": "its secret is another one: the processes of a homeserver must all use the same database, and "
    "be restarted if that was restored or replaced",
    "process": "another process answers at this address",
    "malformed": "what answers there is no process of a Trellis homeserver: look at the port",
}


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The first message of the side that connects."""

    version: int
    process: str
    nonce: bytes


class Challenge(msgspec.Struct, frozen=True, array_like=True, tag="challenge"):
    """The answer of the side that listens, with its proof."""

    process: str
    nonce: bytes
    proof: bytes


class Proof(msgspec.Struct, frozen=True, array_like=True, tag="proof"):
    """The proof of the side that connects."""

    proof: bytes


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag="welcome"):
    """The proof is right; now the two may talk."""


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag="refusal"):
    """They will not talk. It proves nothing and is worth a line in the log."""

    reason: Reason


_Message: TypeAlias = Hello | Challenge | Proof | Welcome | Refusal
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Message)


class HandshakeRefused(Exception):
    """The two will not talk. `refusal` is what the other side is told; None where it said so itself."""

    def __init__(self, reason: Reason, *, told: bool = False) -> None:
        super().__init__(_ADVICE[reason])
        self.reason = reason
        self.refusal = None if told else _encode(Refusal(reason))


class AskingHandshake:
    """The side that connects, to the process `peer`."""

    def __init__(self, *, process: str, peer: str, secret: bytes) -> None:
        self._process = process
        self._peer = peer
        self._secret = secret
        self._nonce = secrets.token_bytes(_NONCE)
        self._proved = False
        self.done = False
        """Whether the two may talk."""

    def begin(self) -> bytes:
        """The first frame."""
        return _encode(Hello(VERSION, self._process, self._nonce))

    def receive(self, frame: memoryview) -> bytes | None:
        """The frame to send after this one. Raises HandshakeRefused."""
        message = _decoded(frame)
        if isinstance(message, Challenge) and not self._proved and len(message.nonce) == _NONCE:
            return self._prove(message)
        if isinstance(message, Welcome) and self._proved:
            self.done = True
            return None
        raise HandshakeRefused("malformed")

    def _prove(self, challenge: Challenge) -> bytes:
        said = (self._process, challenge.process, self._nonce, challenge.nonce)
        if not hmac.compare_digest(challenge.proof, _proof(self._secret, "answering", *said)):
            raise HandshakeRefused("secret")
        if challenge.process != self._peer:
            raise HandshakeRefused("process")
        self._proved = True
        return _encode(Proof(_proof(self._secret, "asking", *said)))


class AnsweringHandshake:
    """The side that listens."""

    def __init__(self, *, process: str, secret: bytes) -> None:
        self._process = process
        self._secret = secret
        self._nonce = secrets.token_bytes(_NONCE)
        self._hello: Hello | None = None
        self.done = False
        """Whether the two may talk."""

    @property
    def peer(self) -> str:
        """The process that it says it is; empty before it said so."""
        return "" if self._hello is None else self._hello.process

    def receive(self, frame: memoryview) -> bytes:
        """The frame to send after this one. Raises HandshakeRefused."""
        message = _decoded(frame)
        if isinstance(message, Hello) and self._hello is None:
            return self._challenge(message)
        if isinstance(message, Proof) and self._hello is not None and not self.done:
            return self._welcome(self._hello, message)
        raise HandshakeRefused("malformed")

    def _challenge(self, hello: Hello) -> bytes:
        if hello.version != VERSION:
            raise HandshakeRefused("version")
        if len(hello.nonce) != _NONCE:
            raise HandshakeRefused("malformed")
        self._hello = hello
        proof = _proof(self._secret, "answering", hello.process, self._process, hello.nonce, self._nonce)
        return _encode(Challenge(self._process, self._nonce, proof))

    def _welcome(self, hello: Hello, message: Proof) -> bytes:
        proof = _proof(self._secret, "asking", hello.process, self._process, hello.nonce, self._nonce)
        if not hmac.compare_digest(message.proof, proof):
            raise HandshakeRefused("secret")
        self.done = True
        return _encode(Welcome())


def _decoded(frame: memoryview) -> _Message:
    """Raises HandshakeRefused for what is no message, and for a refusal."""
    try:
        message: _Message = _decoder.decode(frame)
    except UNDECODABLE:
        raise HandshakeRefused("malformed") from None
    if isinstance(message, Refusal):
        raise HandshakeRefused(message.reason, told=True)
    return message


def _proof(
    secret: bytes,
    role: Literal["asking", "answering"],
    asking: str,
    answering: str,
    asking_nonce: bytes,
    answering_nonce: bytes,
) -> bytes:
    # As msgpack, in which each part has its length: no two different lists are the same bytes.
    said = _encode((_LABEL, VERSION, role, asking, answering, asking_nonce, answering_nonce))
    return hmac.digest(secret, said, "sha256")
