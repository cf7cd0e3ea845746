# SPDX-License-Identifier: Apache-2.0
"""Transaction ids: a request that is sent again is answered with the event that the first one made.

spec: client-server-api, "Transaction identifiers"
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred

from federation.errors import InvalidParam
from federation.graph.drafts import RecordsOf
from federation.http.endpoint import Requester
from storage.client_transactions import ClientTransaction, ClientTransactions
from storage.engine.errors import DataError
from storage.event import StoredEvent
from storage.events import Events
from storage.runtime.clock import Clock, milliseconds

TRANSACTION_LIFETIME_MS = 24 * 3600 * 1000
"""How long a request may be sent again with its transaction id, and its event shows the id."""

_LONGEST = 255
"""Bytes of a transaction id. spec: appendices, "Opaque Identifiers" """

_Key = tuple[int, str, str]


class _LeftOff(Exception):
    """Nobody waits for the first of several requests any more; whoever comes after it makes the event."""


class RequestTransactions:
    """Makes requests with a transaction id idempotent.

    The row of a request commits with its event, and its primary key is what nothing gets past. So that a
    request in a warm room reads nothing, the database is asked beforehand only at the first request of a
    device; after that the `limit` requests answered last are remembered. `devices` is how many are known.
    """

    def __init__(
        self,
        *,
        transactions: ClientTransactions,
        events: Events,
        clock: Clock,
        limit: int = 10_000,
        devices: int = 20_000,
    ) -> None:
        self._transactions = transactions
        self._events = events
        self._clock = clock
        self._limit = limit
        self._device_limit = devices
        self._answered: OrderedDict[_Key, str] = OrderedDict()
        self._in_flight: dict[_Key, list[Deferred[str]]] = {}
        self._devices: OrderedDict[int, None] = OrderedDict()

    async def once(
        self,
        requester: Requester,
        path: str,
        txn_id: str,
        append: Callable[[RecordsOf], Awaitable[StoredEvent]],
    ) -> str:
        """The id of the event that `append` makes, or that it made for the same request before.

        `path` is the request's path without the transaction id. `append` must put the records that it is
        given into the unit of its event. A request that failed may be made again. Raises `InvalidParam`, and
        what `append` raises.
        """
        if len(txn_id) * 4 > _LONGEST and len(txn_id.encode()) > _LONGEST:
            raise InvalidParam(f"The transaction id is longer than {_LONGEST} bytes")
        # A token without a device, such as an application service's, has the user's transaction ids.
        device = -requester.user if requester.device is None else requester.device
        key = (device, path, txn_id)
        answered = self._answered.get(key)
        if answered is not None:
            return answered
        followers = self._in_flight.get(key)
        if followers is not None:
            follower: Deferred[str] = Deferred()
            followers.append(follower)
            try:
                return await follower
            except _LeftOff:
                return await self.once(requester, path, txn_id, append)
        followers = self._in_flight[key] = []
        try:
            event_id = await self._first(key, append)
        except BaseException as error:
            del self._in_flight[key]
            reason = _LeftOff() if isinstance(error, CancelledError) else error
            for follower in followers:
                follower.errback(reason)
            raise
        del self._in_flight[key]
        self._answered[key] = event_id
        if len(self._answered) > self._limit:
            self._answered.popitem(last=False)
        for follower in followers:
            follower.callback(event_id)
        return event_id

    async def _first(self, key: _Key, append: Callable[[RecordsOf], Awaitable[StoredEvent]]) -> str:
        device, path, txn_id = key
        if device not in self._devices:
            made = await self._made_before(key)
            if made is not None:
                return made
            self._devices[device] = None
            if len(self._devices) > self._device_limit:
                self._devices.popitem(last=False)
        now = milliseconds(self._clock)

        def records_of(appended: Sequence[StoredEvent]) -> Sequence[ClientTransaction]:
            return (ClientTransaction(device, path, txn_id, appended[-1].number, now),)

        try:
            return (await append(records_of)).event.event_id
        except DataError:
            made = await self._made_before(key)
            if made is None:
                raise
            return made

    async def _made_before(self, key: _Key) -> str | None:
        device, path, txn_id = key
        number = await self._transactions.event_of(device, path, txn_id)
        if number is None:
            return None
        return (await self._events.get((number,)))[number].event.event_id
