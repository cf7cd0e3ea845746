# SPDX-License-Identifier: Apache-2.0
"""`/sync`: one face of the change feed.

spec: client-server-api, "Syncing".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import attrs
import msgspec
from twisted.internet.task import deferLater

from federation.http.endpoint import Requester
from homeserver.feed.feed import Feed
from homeserver.filtering.filter import Filter
from homeserver.rooms.presentation import LookedUp
from homeserver.rooms.tokens import SyncToken
from homeserver.sync.ignored_users import IgnoredUsers
from homeserver.sync.invites import Invites
from homeserver.sync.plans import Plan, Plans, Touched
from homeserver.sync.reader import Reader
from homeserver.sync.room_json import Told
from homeserver.sync.sections import Sections
from storage.memberships import Membership
from storage.runtime.clock import Clock

_MOST_ROOMS_AT_ONCE = 50
"""So many rooms of an initial sync are looked up together, if they are small."""

_EVENTS_AT_ONCE = 2_000
"""How many events they should tell of together."""

_PART = 32 * 1024
"""Bytes of an answer that are written before the reactor may look after others."""

_LONGEST_CATCH_UP = 5.0
"""Seconds to wait for a position that another process has given."""

# What is not there yet, in its empty form.
_REST = (
    b'"presence":{"events":[]},"to_device":{"events":[]},"device_lists":{"changed":[],"left":[]},'
    b'"device_one_time_keys_count":{"signed_curve25519":0},"device_unused_fallback_key_types":[]}'
)
_NOTHING = (
    b'{"next_batch":"%b","account_data":{"events":[]},"rooms":{"join":{},"invite":{},"leave":{},"knock":{}},'
    + _REST
)


@attrs.frozen
class SyncRequest:
    """What a client asks for; `timeout` in seconds."""

    requester: Requester
    since: SyncToken | None
    filter: Filter
    timeout: float = 0.0
    full_state: bool = False


class Sync:
    """Answers syncs."""

    def __init__(
        self,
        *,
        feed: Feed,
        plans: Plans,
        sections: Sections,
        invites: Invites,
        ignored_users: IgnoredUsers,
        clock: Clock,
    ) -> None:
        self._feed = feed
        self._plans = plans
        self._sections = sections
        self._invites = invites
        self._ignored_users = ignored_users
        self._clock = clock

    async def answer(self, request: SyncRequest) -> bytes | AsyncIterator[bytes]:
        """The JSON of the answer, at once or, where it may be long, in parts."""
        if request.since is None or request.full_state:
            return self._stream(request)
        since, user = request.since, request.requester.user
        if since.position > self._feed.position:
            await self._catch_up(since.position)
        deadline = self._clock.seconds() + request.timeout
        while True:
            memberships = await self._feed.user_rooms.of_account(user)
            upto = self._now(since)
            touched = self._plans.touched(user, since, memberships)
            if touched is not None:
                written = await self._changes(request, upto, touched, memberships)
                if written is not None:
                    return written
                if upto != self._now(since):
                    continue  # Something came while this was found to be nothing.
            # Nothing was awaited since the feed was looked at.
            if not await self._feed.waiting.wait(user, deadline - self._clock.seconds()):
                return _NOTHING % self._token(self._now(since), memberships)

    def _now(self, since: SyncToken | None) -> SyncToken:
        """Where the feed stands; never before what the client has seen."""
        position, typing = self._feed.position, self._feed.typing.stamp
        if since is not None:
            position = max(position, since.position)
        return SyncToken(position, typing)

    def _token(self, upto: SyncToken, memberships: Mapping[int, Membership]) -> bytes:
        """The `next_batch` of a client that has been told everything up to `upto`."""
        if self._feed.typing.is_anybody(memberships):
            upto = attrs.evolve(upto, typists=True)
        return str(upto).encode()

    async def _catch_up(self, position: int) -> None:
        deadline = self._clock.seconds() + _LONGEST_CATCH_UP
        while self._feed.position < position and self._clock.seconds() < deadline:
            await deferLater(self._clock, 0.05)  # type: ignore[arg-type]

    async def _reader(self, request: SyncRequest, upto: SyncToken) -> Reader:
        return Reader(
            requester=request.requester,
            filter=request.filter,
            since=request.since,
            upto=upto,
            full_state=request.full_state,
            ignored=await self._ignored_users.of(request.requester.user),
        )

    async def _changes(
        self, request: SyncRequest, upto: SyncToken, touched: Touched, memberships: Mapping[int, Membership]
    ) -> bytes | None:
        """The answer of what changed; None where it is nothing that this client is told."""
        # What may be left to a next sync must not be said to have been told: typists are looked at first.
        token = self._token(upto, memberships)
        reader = await self._reader(request, upto)
        plan = await self._plans.plan(reader, touched)
        joined: Sequence[bytes] = ()
        if plan.joined:
            told, looked_up = await self._sections.joined(plan.joined, reader)
            joined = [b"".join(one.joined(looked_up, reader)) for one in told]
        others = await self._other_rooms(plan, reader)
        if not (joined or plan.account_data or any(others)):
            return None
        return b"".join((_head(token, plan), b",".join(joined), _tail(others)))

    async def _stream(self, request: SyncRequest) -> AsyncIterator[bytes]:
        """An initial sync, or one with the full state, a few rooms at a time."""
        user = request.requester.user
        memberships = await self._feed.user_rooms.of_account(user)
        upto = self._now(request.since)
        token = self._token(upto, memberships)
        touched = self._plans.everything(user, request.since, memberships)
        reader = await self._reader(request, upto)
        plan = await self._plans.plan(reader, touched)
        yield _head(token, plan)
        comma = b""
        begin, at_once = 0, _MOST_ROOMS_AT_ONCE // 5
        while begin < len(plan.joined):
            told, looked_up = await self._sections.joined(plan.joined[begin : begin + at_once], reader)
            for part in _parts(told, looked_up, reader, comma):
                yield part
            comma = b"," if told else comma
            begin += at_once
            at_once = _rooms_at_once(told)
        yield _tail(await self._other_rooms(plan, reader))

    async def _other_rooms(self, plan: Plan, reader: Reader) -> tuple[Sequence[bytes], ...]:
        """Members of `rooms.invite`, `rooms.leave` and `rooms.knock`."""
        left: Sequence[bytes] = ()
        if plan.left:
            told, looked_up = await self._sections.left(plan.left, reader)
            left = [b"".join(one.left(looked_up, reader)) for one in told]
        return (
            await self._invites.write(plan.invited, "invite_state", reader) if plan.invited else (),
            left,
            await self._invites.write(plan.knocked, "knock_state", reader) if plan.knocked else (),
        )


def _rooms_at_once(told: Sequence[Told]) -> int:
    """How many rooms to look up next, by how large the last ones were."""
    events = sum(one.size for one in told)
    if not events:
        return _MOST_ROOMS_AT_ONCE
    return max(1, min(_MOST_ROOMS_AT_ONCE, len(told) * _EVENTS_AT_ONCE // events))


def _parts(told: Sequence[Told], looked_up: LookedUp, reader: Reader, comma: bytes) -> Iterator[bytes]:
    """Members of `rooms.join`, the first of them after `comma`."""
    pieces: list[bytes] = []
    size = 0
    for one in told:
        pieces.append(comma)
        comma = b","
        for piece in one.joined(looked_up, reader):
            pieces.append(piece)
            size += len(piece)
            if size > _PART:
                yield b"".join(pieces)
                pieces.clear()
                size = 0
    yield b"".join(pieces)


def _head(token: bytes, plan: Plan) -> bytes:
    account_data = msgspec.json.encode({"events": plan.account_data})
    return b'{"next_batch":"%b","account_data":%b,"rooms":{"join":{' % (token, account_data)


def _tail(others: tuple[Sequence[bytes], ...]) -> bytes:
    invited, left, knocked = (b",".join(rooms) for rooms in others)
    return b'},"invite":{%b},"leave":{%b},"knock":{%b}},%b' % (invited, left, knocked, _REST)
