# SPDX-License-Identifier: Apache-2.0
"""A server of one endpoint that answers bad requests well, or badly in one chosen way.

It shows that the bad requests find what they look for: see `test_bad_input_finds.py`.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests.contract.formats import is_room_id
from tests.contract.operations import Extract, read_extract

TOKEN = "the-token"
PATH = "/_matrix/client/v3/rooms/{roomId}/tiny"
NAME = f"PUT {PATH}"
ERROR = {
    "type": "object",
    "properties": {"errcode": {"type": "string"}, "error": {"type": "string"}},
    "required": ["errcode"],
}


class Fault(enum.Enum):
    """What is wrong with the server."""

    NONE = enum.auto()
    CRASHES_ON_A_WRONG_TYPE = enum.auto()
    ACCEPTS_A_WRONG_TYPE = enum.auto()
    CRASHES_WITHOUT_A_MEMBER = enum.auto()
    CRASHES_ON_U0000 = enum.auto()
    CRASHES_ON_DEPTH = enum.auto()
    CRASHES_ON_HUGE_LIMITS = enum.auto()
    ACCEPTS_ANY_TOKEN = enum.auto()
    ACCEPTS_ANY_SIZE = enum.auto()
    ACCEPTS_LONG_IDENTIFIERS = enum.auto()
    REFUSES_IN_HTML = enum.auto()
    REFUSES_WITHOUT_A_TEXT = enum.auto()
    REFUSES_WITH_AN_UNKNOWN_CODE = enum.auto()
    REFUSES_WITH_THE_WRONG_CODE = enum.auto()
    SUCCEEDS_IN_THE_WRONG_SHAPE = enum.auto()
    NEVER_ANSWERS_A_FLOAT = enum.auto()
    FORGETS_EVERYBODY = enum.auto()


def tiny_extract(errcodes: frozenset[str]) -> Extract:
    """Return the extract of the one endpoint."""
    operation = {
        "added": None,
        "api": "client-server",
        "auth": "token",
        "body": {
            "content": {
                "application/json": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "count": {"type": "integer"},
                        "inner": {"type": "object", "properties": {"flag": {"type": "boolean"}}},
                    },
                    "required": ["name"],
                }
            },
            "required": True,
        },
        "deprecated": False,
        "files": ["tiny.yaml"],
        "ids": ["tiny"],
        "method": "PUT",
        "parameters": [
            {
                "in": "path",
                "name": "roomId",
                "required": True,
                "schema": {"type": "string", "format": "mx-room-id"},
            },
            {"in": "query", "name": "limit", "required": False, "schema": {"type": "integer"}},
        ],
        "path": PATH,
        "responses": {
            "200": {
                "content": {
                    "application/json": {
                        "type": "object",
                        "properties": {"length": {"type": "integer"}},
                        "required": ["length"],
                    }
                }
            },
            "400": {"content": {"application/json": ERROR}, "errcodes": []},
        },
    }
    return read_extract({"definitions": {}, "errcodes": sorted(errcodes), "operations": [operation]})


class Refused(Exception):
    """The request is refused."""

    def __init__(self, status: int, errcode: str) -> None:
        super().__init__(errcode)
        self.status = status
        self.errcode = errcode


class Silent(Exception):
    """The request gets no answer."""


class TinyServer(Resource):
    """The endpoint, and the two that tell whether the server is alive."""

    isLeaf = True  # noqa: N815

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self._fault = fault
        self._forgotten = False

    def render(self, request: Request) -> bytes | int:
        """Answer any request."""
        try:
            status, answer = 200, self._answer(request)
        except Silent:
            return NOT_DONE_YET
        except Refused as refusal:
            status, answer = refusal.status, self._error(refusal.errcode)
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError, ValueError):
            status, answer = 500, self._error("M_UNKNOWN")
        request.setResponseCode(status)
        if status >= 400 and self._fault is Fault.REFUSES_IN_HTML:
            request.setHeader(b"Content-Type", b"text/html")
            return b"<h1>Bad request</h1>"
        request.setHeader(b"Content-Type", b"application/json")
        return json.dumps(answer).encode()

    def _error(self, errcode: str) -> dict[str, str]:
        if self._fault is Fault.REFUSES_WITHOUT_A_TEXT:
            return {"errcode": errcode}
        if self._fault is Fault.REFUSES_WITH_AN_UNKNOWN_CODE and errcode == "M_BAD_JSON":
            return {"errcode": "M_VERY_BAD_JSON", "error": "no"}
        if self._fault is Fault.REFUSES_WITH_THE_WRONG_CODE and errcode == "M_NOT_JSON":
            return {"errcode": "M_UNKNOWN", "error": "no"}
        return {"errcode": errcode, "error": "no"}

    def _answer(self, request: Request) -> dict[str, Any]:
        path = request.uri.partition(b"?")[0]
        if path == b"/_matrix/client/versions":
            return {"versions": ["v1.1"]}
        self._check_token(request)
        if path == b"/_matrix/client/v3/account/whoami":
            return {"user_id": "@alice:example.org"}
        self._check_room(path)
        self._check_limit(request)
        name = self._name(request.content.read())
        self._forgotten = self._fault is Fault.FORGETS_EVERYBODY
        length: Any = len(name)
        return {"length": f"{length}" if self._fault is Fault.SUCCEEDS_IN_THE_WRONG_SHAPE else length}

    def _check_token(self, request: Request) -> None:
        header = request.getHeader(b"authorization")
        if header is None:
            raise Refused(401, "M_MISSING_TOKEN")
        known = header == b"Bearer " + TOKEN.encode() or self._fault is Fault.ACCEPTS_ANY_TOKEN
        if not known or self._forgotten:
            raise Refused(401, "M_UNKNOWN_TOKEN")

    def _check_room(self, path: bytes) -> None:
        parts = path.split(b"/")
        if len(parts) != 7 or parts[-1] != b"tiny":
            raise Refused(404, "M_UNRECOGNIZED")
        try:
            room_id = unquote_to_bytes(parts[5]).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(400, "M_INVALID_PARAM") from None
        if "\0" in room_id and self._fault is Fault.CRASHES_ON_U0000:
            raise ValueError("a database that knows no U+0000")
        long = len(room_id.encode()) > 255 and self._fault is Fault.ACCEPTS_LONG_IDENTIFIERS
        if not is_room_id(room_id) and not long:
            raise Refused(400, "M_INVALID_PARAM")

    def _check_limit(self, request: Request) -> None:
        for text in request.args.get(b"limit", ()):
            if not text.decode("latin-1").removeprefix("-").isdigit():
                raise Refused(400, "M_INVALID_PARAM")
            if int(text) >= 2**63 and self._fault is Fault.CRASHES_ON_HUGE_LIMITS:
                raise OverflowError("a database of 64 bits")

    def _name(self, content: bytes) -> str:
        if len(content) > 1024 * 1024 and self._fault is not Fault.ACCEPTS_ANY_SIZE:
            raise Refused(413, "M_TOO_LARGE")
        value = self._decoded(content)
        if not isinstance(value, dict):
            raise Refused(400, "M_BAD_JSON")
        if "name" not in value and self._fault is not Fault.CRASHES_WITHOUT_A_MEMBER:
            raise Refused(400, "M_MISSING_PARAM")
        self._check_types(value)
        return str(value["name"])

    def _decoded(self, content: bytes) -> Any:
        try:
            return json.loads(content.decode("utf-8"), parse_constant=_refuse)
        except RecursionError:
            if self._fault is Fault.CRASHES_ON_DEPTH:
                raise
            raise Refused(400, "M_NOT_JSON") from None
        except ValueError:
            raise Refused(400, "M_NOT_JSON") from None

    def _check_types(self, value: Mapping[str, Any]) -> None:
        if isinstance(value.get("count"), float) and self._fault is Fault.NEVER_ANSWERS_A_FLOAT:
            raise Silent
        inner = value.get("inner", {})
        right = (
            isinstance(value["name"], str)
            and _is_integer(value.get("count", 0))
            and isinstance(inner, dict)
            and isinstance(inner.get("flag", True), bool)
        )
        if right or self._fault is Fault.ACCEPTS_A_WRONG_TYPE:
            return
        if self._fault is Fault.CRASHES_ON_A_WRONG_TYPE:
            raise TypeError("as len() of a number would")
        raise Refused(400, "M_BAD_JSON")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


@contextmanager
def listening(fault: Fault) -> Iterator[int]:
    """Serve on loopback, from the reactor's thread, and give the port."""
    port = reactor.listenTCP(0, Site(TinyServer(fault)), interface="127.0.0.1")
    try:
        yield port.getHost().port
    finally:
        port.stopListening()
