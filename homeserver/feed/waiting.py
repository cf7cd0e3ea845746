# SPDX-License-Identifier: Apache-2.0
"""Long polls that wait for something to change for their user."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred

from homeserver.feed.user_rooms import UserRooms
from storage.runtime.clock import Clock, DelayedCall


class _Waiter:
    """One long poll; `woken` fires with True for a change and False when its time is over."""

    __slots__ = ("account", "timer", "woken")

    def __init__(self, account: int) -> None:
        self.account = account
        self.woken: Deferred[bool] = Deferred()
        self.timer: DelayedCall | None = None


class Waiting:
    """Who waits, by user."""

    def __init__(self, *, clock: Clock, user_rooms: UserRooms) -> None:
        self._clock = clock
        self._user_rooms = user_rooms
        self._by_account: dict[int, set[_Waiter]] = {}
        self._closed = False

    def __len__(self) -> int:
        return sum(len(waiters) for waiters in self._by_account.values())

    async def wait(self, account: int, timeout: float) -> bool:
        """Return True when something changes for the user, False after `timeout` seconds or at the stop.

        The user's memberships should be in memory (`UserRooms.of_account`): for a user whose are not, any
        room's change counts. Cancelling ends the wait.
        """
        if self._closed or timeout <= 0:
            return False
        waiter = _Waiter(account)
        self._by_account.setdefault(account, set()).add(waiter)
        waiter.timer = self._clock.callLater(timeout, self._end, waiter, False)
        try:
            return await waiter.woken
        finally:
            self._forget(waiter)

    def wake(self, rooms: Iterable[int], accounts: Iterable[int]) -> None:
        """These rooms and users have changed."""
        if not self._by_account:
            return
        concerned = {account for account in accounts if account in self._by_account}
        for room in rooms:
            concerned.update(self._waiting_in(room))
        for account in concerned:
            for waiter in list(self._by_account.get(account, ())):
                self._end(waiter, True)

    def close(self) -> None:
        """Let everybody go; nobody waits from now on."""
        self._closed = True
        for waiters in list(self._by_account.values()):
            for waiter in list(waiters):
                self._end(waiter, False)

    def _waiting_in(self, room: int) -> Iterable[int]:
        """Those who wait and are joined to the room; the smaller of the two sets is walked."""
        members = self._user_rooms.known_in_room(room)
        if members is None or len(members) > len(self._by_account):
            return [account for account in self._by_account if self._user_rooms.may_be_joined(account, room)]
        return [
            account
            for account, membership in members.items()
            if membership.membership == "join" and account in self._by_account
        ]

    def _end(self, waiter: _Waiter, changed: bool) -> None:
        self._forget(waiter)
        if not waiter.woken.called:
            waiter.woken.callback(changed)

    def _forget(self, waiter: _Waiter) -> None:
        waiters = self._by_account.get(waiter.account)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._by_account[waiter.account]
        if waiter.timer is not None and waiter.timer.active():
            waiter.timer.cancel()
