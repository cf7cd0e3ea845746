# SPDX-License-Identifier: Apache-2.0
"""Paths that name the requester themselves, such as `/user/{userId}/filter`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from federation.errors import Forbidden
from federation.http.endpoint import Request, Requester


class _Call(Protocol):
    """What matters of a call here."""

    @property
    def path(self) -> Mapping[str, str]: ...

    @property
    def user(self) -> Requester: ...

    @property
    def request(self) -> Request: ...


def own_user(call: _Call) -> Requester:
    """The requester, whom the path names. Raises `Forbidden` where it names somebody else."""
    if call.path["userId"] != call.user.user_id:
        raise Forbidden(f"The access token is not one of {call.path['userId']!r:.300}")
    return call.user


def body_as_sent(call: _Call) -> bytes:
    """The text of a body that was decoded as a JSON object; no body stands for `{}`."""
    return call.request.body() or b"{}"
