# SPDX-License-Identifier: Apache-2.0
"""Those who use matrix-nio in `nio_driver.py`, and how they look at its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import nio

PASSWORD = "correct horse battery staple"
_WAIT_SECONDS = 10


class Person:
    """Someone with a client, and all events that it told them of."""

    def __init__(self, url: str, user_id: str) -> None:
        self.client = nio.AsyncClient(url, user_id)
        self.client.add_event_callback(self._event, nio.Event)
        self.events: list[Any] = []
        self.left: set[str] = set()

    @property
    def user_id(self) -> str:
        return self.client.user_id

    def room(self, room_id: str) -> Any:
        """The room as nio holds it."""
        return self.client.rooms[room_id]

    async def until(self, what: str, true: Callable[[], Any]) -> None:
        """Sync until it is so."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _WAIT_SECONDS
        while True:
            synced = good(await self.client.sync(timeout=1000), nio.SyncResponse)
            self.left = (self.left | set(synced.rooms.leave)) - set(synced.rooms.join)
            if true():
                return
            assert loop.time() < deadline, f"never seen in sync: {what}"

    def event(self, event_id: str) -> Any:
        """The event that sync told of; None if it has not."""
        return next((event for event in self.events if event.event_id == event_id), None)

    async def _event(self, _room: Any, event: Any) -> None:
        assert not isinstance(event, nio.BadEvent | nio.UnknownBadEvent), event
        self.events.append(event)


class Passing:
    """The client of someone who is there for a moment."""

    def __init__(self, url: str) -> None:
        self._client = nio.AsyncClient(url)

    async def __aenter__(self) -> nio.AsyncClient:
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


def good(response: Any, kind: type) -> Any:
    """The response, which must be of this kind and not an error."""
    assert isinstance(response, kind), response
    return response


def refused(response: Any, errcode: str) -> None:
    """Check that the response is an error with this code and a text."""
    assert isinstance(response, nio.ErrorResponse), response
    assert response.status_code == errcode, response
    assert response.message
