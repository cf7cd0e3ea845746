# SPDX-License-Identifier: Apache-2.0
"""Shows a profile in the rooms of other processes, by asking these to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from federation.processes.link import Links, Operation
from federation.processes.ownership import Ownership

OPERATION = "profile"

Show = Callable[[int, str, str], Awaitable[None]]
"""Shows the profile of an account, with its user id, in a room by its id."""


class _Question(msgspec.Struct, array_like=True, frozen=True):
    account: int
    user_id: str
    room_id: str


_decode = msgspec.msgpack.Decoder(_Question).decode


class RoomsElsewhere(Protocol):
    """The rooms of other processes."""

    async def show(self, account: int, user_id: str, room_id: str) -> bool:
        """Have the user's profile shown in a room; False where the room is this process's own."""


class NoRoomsElsewhere:
    """For a process that is the only one."""

    async def show(self, account: int, user_id: str, room_id: str) -> bool:  # noqa: ARG002
        """False."""
        return False


class RoomsOfOthers:
    """For one of several processes."""

    def __init__(self, *, ownership: Ownership, links: Links) -> None:
        self._ownership = ownership
        self._links = links

    async def show(self, account: int, user_id: str, room_id: str) -> bool:
        """Have the owner of the room show the profile there; False where that is this process.

        Raises `PeerUnreachable` and `PeerFailed`.
        """
        peer = self._ownership.owner_of(room_id)
        if peer is None:
            return False
        question = msgspec.msgpack.encode(_Question(account, user_id, room_id))
        await self._links.ask(peer, OPERATION, question)
        return True


def answering(show: Show) -> Operation:
    """What a process does when another one asks it."""

    async def answer(body: bytes) -> bytes:
        question = _decode(body)
        await show(question.account, question.user_id, question.room_id)
        return b""

    return answer
