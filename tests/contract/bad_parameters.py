# SPDX-License-Identifier: Apache-2.0
"""Bad paths, queries and access tokens of an operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import attrs

from tests.contract.bad_input import Case, Refusal, refused
from tests.contract.operations import Operation, Parameter
from tests.contract.shapes import Samples, shape_of

SIGILS = {"roomId": "!", "userId": "@", "eventId": "$", "roomAlias": "#"}
"""The path parameters that are identifiers, and what these begin with."""
SHORT_NAMES = frozenset({"eventType", "stateKey"})
"""The path parameters that an event holds, where they may have 255 bytes. spec: "Size limits" """
TOKENS = frozenset({"since", "from", "to", "at"})

REFUSED = Refusal()
INVALID = refused("M_INVALID_PARAM")
MISSING = refused("M_MISSING_PARAM", "M_INVALID_PARAM")

UNDECODABLE = {
    "U+0000": "a%00b",
    "bytes that are no UTF-8": "a%ffb",
    "UTF-8 of a surrogate": "a%ed%a0%80b",
    "an overlong form": "a%c0%afb",
}
ODD_SEGMENTS = {
    "300 bytes": "a" * 300,
    "8,000 bytes": "a" * 8_000,
    "a slash": "a%2Fb",
    "two dots": "..",
    "two encoded dots": "%2e%2e",
    "half an escape": "a%4",
    "an escape of nothing": "a%zz",
    "a line break": "a%0d%0ab",
    "a right-to-left mark": quote("a\u202eb"),
    "an emoji": quote("\U0001f600"),
    "SQL": quote("' OR 1=1; --"),
}
ODD_TEXTS = {
    "empty": "",
    "U+0000": "%00",
    "no UTF-8": "%ff",
    "UTF-8 of a surrogate": "%ed%a0%80",
    "half an escape": "%4",
    "4,000 bytes": "a" * 4_000,
    "JSON": quote('{"key": ['),
    "deep JSON": quote('{"key": ' + "[" * 1_000 + "]" * 1_000 + "}"),
}
NO_INTEGERS = {"a word": "many", "a float": "1.5", "hexadecimal": "0x10", "empty": "", "two numbers": "1%202"}
ODD_INTEGERS = {"negative": "-1", "zero": "0", "huge": "9" * 40, "2^63": str(2**63), "a plus sign": "%2B5"}
NO_BOOLEANS = {"a word": "maybe", "a number": "2"}

GARBAGE_TOKENS = {
    "garbage": "Bearer garbage",
    "a token with spaces": "Bearer a b c",
    "a long token": "Bearer " + "a" * 8_000,
    "a token of other bytes": "Bearer t\u00fcken",
    "a token as of another server": "Bearer syt_YWxpY2U_abcdefghijklmnopqrst_0a1b2c",
}
NO_TOKENS = {
    "an empty token": "Bearer ",
    "an empty header": "",
    "the wrong scheme": "Basic YWxpY2U6cGFzc3dvcmQ=",
    "X-Matrix": "X-Matrix origin=example.org",
}


@attrs.frozen
class BadParameters:
    """Makes the cases of one operation, in each of which the `body` and the other parameters are valid.

    `path` gives the path parameters, with another transaction ID each time: a repeated one would repeat the
    answer.
    """

    operation: Operation
    path: Callable[[], Mapping[str, str]]
    query: Mapping[str, str]
    body: bytes
    samples: Samples
    expired_token: str
    foreign_server: str
    """The name of a server that exists nowhere."""

    def cases(self) -> Iterator[Case]:
        """Yield all of them."""
        for parameter in self.operation.in_place("path"):
            yield from self._path(parameter)
        for parameter in self.operation.in_place("query"):
            yield from self._query(parameter)
        yield from self._authorization()

    def _case(self, fault: str, refusal: Refusal | None, **changes: Any) -> Case:
        parts: dict[str, Any] = {
            "path": self.operation.path_with(self.path()),
            "query": urlencode(self.query),
            "body": self.body,
            **changes,
        }
        return Case(operation=self.operation, fault=fault, refusal=refusal, **parts)

    def _path(self, parameter: Parameter) -> Iterator[Case]:
        name = parameter.name
        sigil = SIGILS.get(name, "")
        for fault, segment in UNDECODABLE.items():
            # The specification's identifiers hold no U+0000, and what is no UTF-8 is no text.
            yield self._in_path(name, quote(sigil) + segment, f"{fault} in {name}", REFUSED)
        for fault, segment in ODD_SEGMENTS.items():
            yield self._in_path(name, quote(sigil) + segment, f"{fault} in {name}", None)
        if name in SHORT_NAMES and self.operation.method == "PUT":
            yield self._in_path(name, "a" * 300, f"{name} of 300 bytes", REFUSED)
        if sigil:
            yield from self._identifiers(name, sigil)
        if shape_of(parameter.schema, self.samples.definitions).enum:
            yield self._in_path(name, "org.example.other", f"an unknown {name}", REFUSED)

    def _identifiers(self, name: str, sigil: str) -> Iterator[Case]:
        other = "@" if sigil != "@" else "!"
        server = self.samples.by_format["mx-server-name"]
        wrong = {
            "no sigil": f"a:{server}",
            "another sigil": f"{other}a:{server}",
            "the sigil alone": sigil,
            "an empty domain": f"{sigil}a:",
            "a domain that is none": f"{sigil}a:exa mple.org",
            "more than 255 bytes": f"{sigil}{'a' * 255}:{server}",
            "more than 255 bytes of few characters": f"{sigil}{'ü' * 125}:{server}",
        }
        for fault, text in wrong.items():
            yield self._in_path(name, quote(text, safe=""), f"{name} with {fault}", REFUSED)
        # Rooms and events of some versions have IDs without a domain, whose form is the version's affair.
        no_domain = None if sigil in "!$" else REFUSED
        yield self._in_path(name, quote(f"{sigil}a"), f"{name} with no domain", no_domain)
        yield self._in_path(name, quote(f"{sigil}nobody:{server}"), f"a {name} that does not exist", None)
        foreign = quote(f"{sigil}a:{self.foreign_server}")
        yield self._in_path(name, foreign, f"a {name} of a server that does not exist", None, asks_peer=True)

    def _in_path(
        self, name: str, segment: str, fault: str, refusal: Refusal | None, asks_peer: bool = False
    ) -> Case:
        """Return a case with `segment`, which is percent-encoded already, in the place of a parameter."""
        mark = "MARK-OF-THE-PARAMETER"
        path = self.operation.path_with({**self.path(), name: mark}).replace(mark, segment)
        return self._case(fault, refusal, path=path, asks_peer=asks_peer)

    def _query(self, parameter: Parameter) -> Iterator[Case]:
        name = parameter.name
        shape = shape_of(parameter.schema, self.samples.definitions)
        if parameter.required:
            others = {key: value for key, value in self.query.items() if key != name}
            yield self._case(f"no {name}", MISSING, query=urlencode(others))
        surely, odd = dict[str, str](), dict(ODD_TEXTS)
        if "integer" in shape.types:
            surely, odd = dict(NO_INTEGERS), {**ODD_TEXTS, **ODD_INTEGERS}
        elif "boolean" in shape.types:
            surely = dict(NO_BOOLEANS)
        elif shape.enum:
            surely = {"unknown": "org.example.other"}
        for fault, text in surely.items():
            yield self._in_query(name, text, f"{name} is {fault}", INVALID)
        for fault in sorted(odd.keys() - surely.keys()):
            yield self._in_query(name, odd[fault], f"{name} is {fault}", None)
        if name in TOKENS:
            yield self._in_query(name, "garbage", f"{name} is garbage", REFUSED)
        yield self._in_query(name, f"a&{name}=b", f"{name} twice", None)

    def _in_query(self, name: str, text: str, fault: str, refusal: Refusal | None) -> Case:
        others = urlencode({key: value for key, value in self.query.items() if key != name})
        query = f"{others}&{name}={text}" if others else f"{name}={text}"
        return self._case(fault, refusal, query=query, asks_peer=True)

    def _authorization(self) -> Iterator[Case]:
        needs_token = self.operation.auth in ("token", "as_token")
        unknown = refused("M_UNKNOWN_TOKEN") if needs_token else None
        missing = refused("M_MISSING_TOKEN", "M_UNKNOWN_TOKEN") if needs_token else None
        if needs_token:
            yield self._case("no token", refused("M_MISSING_TOKEN"), authorization=None)
        for fault, header in GARBAGE_TOKENS.items():
            yield self._case(fault, unknown, authorization=header)
        for fault, header in NO_TOKENS.items():
            yield self._case(fault, missing, authorization=header)
        yield self._case("a token that has expired", unknown, authorization=f"Bearer {self.expired_token}")
