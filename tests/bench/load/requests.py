# SPDX-License-Identifier: Apache-2.0
"""Requests as bytes, rendered once and not per request."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import attrs

CLIENT = "/_matrix/client/v3"
#: What a message says: the length of an ordinary sentence.
TEXT = "An ordinary sentence of the length that people write in a chat room."

_runs = itertools.count()


@attrs.frozen
class User:
    """A local account with an access token."""

    user_id: str
    token: str


def request(method: str, path: str, token: str | None = None, body: bytes | None = None) -> bytes:
    """The bytes of one request; `path` is already percent-encoded."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def json_request(method: str, path: str, token: str | None, body: Any) -> bytes:
    """A request with a JSON body."""
    return request(method, path, token, json.dumps(body).encode())


def room_path(room_id: str, *rest: str) -> str:
    """A path below `/rooms/{roomId}`."""
    return "/".join([f"{CLIENT}/rooms", quote(room_id, safe=""), *(quote(part, safe="") for part in rest)])


def message(user: User, room_id: str, transaction: str, text: str = TEXT) -> bytes:
    """One `m.room.message`."""
    path = room_path(room_id, "send", "m.room.message", transaction)
    return json_request("PUT", path, user.token, {"msgtype": "m.text", "body": text})


def messages(user: User, room_id: str) -> Iterator[bytes]:
    """Endless messages with transaction ids that nobody used before."""
    run = next(_runs)
    head, tail = message(user, room_id, f"t{run}-TRANSACTION").split(b"TRANSACTION", 1)
    for number in itertools.count():
        yield b"%b%d%b" % (head, number, tail)


def state_changes(user: User, room_id: str) -> Iterator[bytes]:
    """Endless topics, each different from the one before."""
    run = next(_runs)
    path = room_path(room_id, "state", "m.room.topic", "")
    for number in itertools.count():
        yield json_request("PUT", path, user.token, {"topic": f"Topic {number} of {run}: {TEXT}"})


def join(user: User, room_id: str) -> bytes:
    """A join of a public room."""
    return json_request("POST", room_path(room_id, "join"), user.token, {})


def receipt(user: User, room_id: str, event_id: str) -> bytes:
    """A public read receipt."""
    return json_request("POST", room_path(room_id, "receipt", "m.read", event_id), user.token, {})


def typing(user: User, room_id: str, on: bool) -> bytes:
    """A typing notice."""
    body = {"typing": True, "timeout": 20_000} if on else {"typing": False}
    return json_request("PUT", room_path(room_id, "typing", user.user_id), user.token, body)


def sync(
    user: User, *, since: str | None = None, timeout_ms: int = 0, filter_json: str | None = None
) -> bytes:
    """A `/sync`."""
    query = {"timeout": str(timeout_ms)}
    if since is not None:
        query["since"] = since
    if filter_json is not None:
        query["filter"] = filter_json
    return request("GET", f"{CLIENT}/sync?{urlencode(query)}", user.token)


def history_page(user: User, room_id: str, *, before: str | None, limit: int) -> bytes:
    """A page of `/messages`, backwards."""
    query = {"dir": "b", "limit": str(limit)}
    if before is not None:
        query["from"] = before
    return request("GET", f"{room_path(room_id, 'messages')}?{urlencode(query)}", user.token)
