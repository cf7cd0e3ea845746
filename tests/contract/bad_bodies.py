# SPDX-License-Identifier: Apache-2.0
"""Bad request bodies of an operation, made from its schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from tests.contract.bad_input import Case, Refusal, refused
from tests.contract.connection import CLIENT
from tests.contract.operations import Operation, Schema
from tests.contract.schema import faults
from tests.contract.shapes import MemberPath, Samples, Shape, wrong_values

MEBIBYTE = 1024 * 1024
DEPTH = 20_000
LONG = 70_000

NOT_JSON = refused("M_NOT_JSON")
NOT_AN_OBJECT = refused("M_BAD_JSON", "M_NOT_JSON")
NO_BODY = refused("M_NOT_JSON", "M_BAD_JSON", "M_MISSING_PARAM")
MISSING = refused("M_MISSING_PARAM", "M_BAD_JSON")
TOO_LARGE = refused("M_TOO_LARGE")

TEXTS_THAT_ARE_NO_JSON = {
    "a brace": b"{",
    "a word": b"nonsense",
    "a member without a value": b'{"key":}',
    "single quotes": b"{'key': 1}",
    "more after the object": b"{} {}",
    "NaN": b'{"key": NaN}',
    "bytes that are no UTF-8": b'{"key": "\xff"}',
    "UTF-8 of a surrogate": b'{"key": "\xed\xa0\x80"}',
    "UTF-16": '{"key": 1}'.encode("utf-16"),
    "a raw U+0000": b'{"key": "\x00"}',
}
NO_OBJECTS = {
    "an array": b"[]",
    "an array of objects": b"[{}]",
    "a string": b'"text"',
    "a number": b"5",
    "null": b"null",
    "true": b"true",
    "deep arrays": b"[" * DEPTH + b"]" * DEPTH,
    "deep arrays that do not close": b"[" * DEPTH,
}
ODD_OBJECTS = {
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a key twice": b'{"key": 1, "key": 2}',
    "an unknown deep member": b'{"org.example.deep": ' + b"[" * DEPTH + b"]" * DEPTH + b"}",
    "an unknown deep object": b'{"key": ' * DEPTH + b"1" + b"}" * DEPTH,
    "an unknown float": b'{"org.example.float": 1.5}',
    "an unknown infinite number": b'{"org.example.number": 1e999}',
    "an unknown integer of 5,000 digits": b'{"org.example.integer": ' + b"9" * 5000 + b"}",
    "an unknown U+0000": b'{"org.example.\\u0000": "\\u0000"}',
    "an unknown lone surrogate": b'{"org.example": "\\ud800"}',
    "an empty key": b'{"": ""}',
    "10,000 unknown members": json.dumps({f"org.example.{i}": i for i in range(10_000)}).encode(),
}
STRINGS = {
    "empty": "",
    "U+0000": "a\0b",
    "a lone surrogate": "a\ud800b",
    "300 bytes": "a" * 300,
    "70,000 bytes": "a" * LONG,
    "line breaks": "a\r\nb",
    "a path upwards": "../../../etc/passwd",
}
SIGIL_FORMATS = frozenset({"mx-user-id", "mx-room-id", "mx-event-id", "mx-room-alias"})
COMPARED_ONLY = frozenset({f"POST {CLIENT}/user/{{userId}}/filter"})
"""Operations whose identifiers name nothing that must exist; the schema asks for their sigils alone."""
IDENTIFIERS = {
    "no identifier": "text",
    "a lone @": "@",
    "a lone !": "!",
    "a lone $": "$",
    "a lone #": "#",
    "no server name": "@a:",
    "a server name that is none": "!a:exa mple.org",
    "too long": "@" + "a" * 300 + ":example.org",
    "an identifier with U+0000": "@a\0b:example.org",
}
INTEGERS = {
    "negative": -1,
    "2^53": 2**53,
    "2^63": 2**63,
    "2^64": 2**64,
    "10^400": 10**400,
    "-2^63 - 1": -(2**63) - 1,
}

EVENT_CONTENT = frozenset(
    {
        f"PUT {CLIENT}/rooms/{{roomId}}/send/{{eventType}}/{{txnId}}",
        f"PUT {CLIENT}/rooms/{{roomId}}/state/{{eventType}}/{{stateKey}}",
    }
)
"""Operations whose body becomes the content of an event: canonical JSON, of a limited size.

spec: appendices, "Canonical JSON"; client-server-api, "Size limits"
"""
NO_CANONICAL_JSON = {
    "a float": b'{"key": 1.5}',
    "a float below": b'{"key": [{"key": 0.1}]}',
    "2^53": b'{"key": 9007199254740992}',
    "-2^53": b'{"key": -9007199254740992}',
    "2^64": b'{"key": 18446744073709551616}',
    "an infinite number": b'{"key": 1e999}',
    "a lone surrogate": b'{"key": "\\ud800"}',
    "a lone surrogate as a key": b'{"\\udfff": 1}',
}


@attrs.frozen
class BadBodies:
    """Makes the cases of one operation, whose path and query are valid.

    `path` gives the path, with another transaction ID each time: a repeated one would repeat the answer.
    """

    operation: Operation
    path: Callable[[], str]
    query: str
    samples: Samples

    def cases(self) -> Iterator[Case]:
        """Yield all of them. An operation without a JSON body gets bodies that it must not stumble over."""
        if self.operation.body is None:
            for fault, body in (TEXTS_THAT_ARE_NO_JSON | NO_OBJECTS | ODD_OBJECTS).items():
                yield self._case(f"a body where none is: {fault}", body)
            return
        yield from self._texts(self.operation.body)
        for path, shape, required in self.samples.members(self.operation.body):
            yield from self._member(self.operation.body, path, shape, required)
        if self.operation.name in EVENT_CONTENT:
            yield from self._event_content()

    def _case(self, fault: str, body: bytes, refusal: Refusal | None = None, **more: Any) -> Case:
        return Case(
            operation=self.operation,
            fault=fault,
            path=self.path(),
            query=self.query,
            body=body,
            refusal=refusal,
            **more,
        )

    def _texts(self, schema: Schema) -> Iterator[Case]:
        sample = self.samples.sample(schema)
        yield self._case("no body", b"", NO_BODY if sample else None)
        for fault, body in TEXTS_THAT_ARE_NO_JSON.items():
            yield self._case(f"no JSON: {fault}", body, NOT_JSON)
        for fault, body in NO_OBJECTS.items():
            yield self._case(f"no object: {fault}", body, NOT_AN_OBJECT)
        for fault, body in ODD_OBJECTS.items():
            yield self._case(fault, self._merged(sample, body))
        yield self._case(
            "2 MiB", json.dumps({**sample, "org.example": "a" * 2 * MEBIBYTE}).encode(), TOO_LARGE
        )
        valid = json.dumps(sample).encode()
        yield self._case("text/plain", valid, headers={"Content-Type": "text/plain; charset=utf-16"})
        yield self._case("gzip that is none", valid, headers={"Content-Encoding": "gzip"})

    @staticmethod
    def _merged(sample: dict[str, Any], odd: bytes) -> bytes:
        """Put the sample's members behind those of an object given as text."""
        members = json.dumps(sample).encode()[1:-1]
        between = b", " if not odd.endswith(b"{}") and members else b""
        return odd[:-1] + between + members + b"}"

    def _member(self, schema: Schema, path: MemberPath, shape: Shape, required: bool) -> Iterator[Case]:
        where = ".".join(map(str, path))
        if required:
            without = self.samples.without_member(schema, path)
            yield self._case(f"{where} is missing", json.dumps(without).encode(), MISSING)
        wrong = Refusal(errcodes=frozenset({"M_BAD_JSON", "M_INVALID_PARAM"}) | self._documented())
        for kind, value in wrong_values(shape).items():
            # Clients send null for what they leave out, so only a required member's null is surely wrong; and
            # where a body has two forms, a member of the one may mean nothing in the other.
            body = self.samples.with_member(schema, path, value)
            surely = (kind != "null" or required) and faults(body, schema, self.samples.definitions)
            yield self._with(schema, path, value, f"{where} is {kind}", wrong if surely else None)
        for name, value in self._odd_values(shape).items():
            yield self._with(schema, path, value, f"{where} is {name}", None, asks_peer=True)
        if shape.format in SIGIL_FORMATS:
            for name, value in IDENTIFIERS.items():
                strict = self.operation.name not in COMPARED_ONLY or value[0] not in "@!"
                yield self._with(schema, path, value, f"{where} is {name}", Refusal() if strict else None)

    def _with(
        self, schema: Schema, path: MemberPath, value: Any, fault: str, refusal: Refusal | None, **more: Any
    ) -> Case:
        body = json.dumps(self.samples.with_member(schema, path, value)).encode()
        return self._case(fault, body, refusal, **more)

    def _documented(self) -> frozenset[str]:
        """The codes that the specification documents for a bad request of this operation."""
        response = self.operation.responses.get(400)
        return response.errcodes if response else frozenset()

    @staticmethod
    def _odd_values(shape: Shape) -> dict[str, Any]:
        """Return values of the right type that are odd, or wrong in a way that types do not show."""
        odd: dict[str, Any] = {}
        if shape.allows("string"):
            odd |= STRINGS
        if shape.allows("integer"):
            odd |= INTEGERS
        if shape.allows("array"):
            odd["an array of 5,000"] = ["text"] * 5_000
        return odd

    def _event_content(self) -> Iterator[Case]:
        for fault, body in NO_CANONICAL_JSON.items():
            yield self._case(f"no canonical JSON: {fault}", body, NOT_AN_OBJECT)
        yield self._case("an event of more than 65,536 bytes", b'{"key": "%s"}' % (b"a" * 65_536), TOO_LARGE)
        yield self._case("deep content", ODD_OBJECTS["an unknown deep member"], NOT_AN_OBJECT)
