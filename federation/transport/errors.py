# SPDX-License-Identifier: Apache-2.0
"""What can go wrong when another server is asked. `str()` of each is one line for the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class PeerError(Exception):
    """The base: the server `server_name` did not give what it was asked for."""

    def __init__(self, server_name: str, message: str) -> None:
        super().__init__(f"{server_name}: {message}")
        self.server_name = server_name


class ServerUnreachable(PeerError):
    """There is no whole answer; `reason` says why. Whether the request arrived is not known."""

    def __init__(self, server_name: str, reason: str) -> None:
        super().__init__(server_name, reason)
        self.reason = reason


class ServerNotAllowed(ServerUnreachable):
    """The server is not to be spoken with: the configuration leaves it out, or it is this one.

    Nothing was asked, no name was looked up.
    """


class AnswerUnusable(PeerError):
    """The server answered, but not with JSON that can be read: too large, broken off, no JSON."""

    def __init__(self, server_name: str, reason: str) -> None:
        super().__init__(server_name, reason)
        self.reason = reason


class PeerRefused(PeerError):
    """The server answered with a status other than 2xx.

    `errcode` and `text` are those of a Matrix error, M_UNKNOWN and empty without one; `body` is the JSON
    object of the answer, empty without one.
    """

    def __init__(
        self, server_name: str, status: int, errcode: str, text: str, body: Mapping[str, Any]
    ) -> None:
        said = f"{status} {errcode}: {text}" if text else f"{status} {errcode}"
        super().__init__(server_name, f"answered {said}")
        self.status = status
        self.errcode = errcode
        self.text = text
        self.body = body


class ConnectionFailed(Exception):
    """No connection to one place that was tried, so nothing was asked; the text says why."""


class NoAnswer(Exception):
    """A request was sent, and then the connection broke or it took too long; the text says which.

    `unheard`: not one byte came back.
    """

    def __init__(self, message: str, *, unheard: bool = False) -> None:
        super().__init__(message)
        self.unheard = unheard


class AnswerTooLarge(Exception):
    """A body, or the headers before it, are longer than what is read."""
