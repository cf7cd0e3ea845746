# SPDX-License-Identifier: Apache-2.0
"""The contributor that counts: what an event adds to everybody's unread counts, and to whose otherwise.

An event costs the same in a room of ten thousand members as in one of two: the counts are cumulative over
the room's threads and stand with the event. Rows of a user are written only where an event counts otherwise
for them (a mention), when they join, and in the thread that they send into.

spec: client-server-api, "Receiving notifications".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import attrs

from federation.graph.contributors import Appended, Contribution, EventCounts, Resolved
from federation.graph.current_state import CurrentState
from homeserver.push.rules.classification import Classification, Deviation, classify
from homeserver.push.rules.compiled import DEFAULT_RULES, CompiledRules
from homeserver.push.rules.context import RoomContext
from homeserver.push.threads import RecentThreads
from homeserver.rooms.visibility import DUMMY, is_shown
from storage.engine.database import Database, Transaction
from storage.event import Event
from storage.notification_counts import ThreadCounts, ThreadCountsStore
from storage.notification_exceptions import NotificationException
from storage.read_points import ReadHere
from storage.strings import Strings
from storage.threads import EVERY_THREAD, MAIN, CountsAt

MOST_THREADS: Final = 20_000
"""So many threads of a room keep their counts in memory; a thread that has long been left begins anew."""


class _Counts(NamedTuple):
    notify: int
    highlight: int


_NONE = _Counts(0, 0)


@attrs.define(eq=False)
class RoomMemory:
    """A hot room as its next event finds it.

    `joined` are all joined users, local ones with their account, others with None. `threads` are the
    cumulative counts by root; the one that notified last is the last.
    """

    main: _Counts
    threads: dict[str, _Counts]
    recent: RecentThreads
    joined: dict[str, int | None]

    def is_recipient(self, user_id: str) -> bool:
        """Whether the user is local and joined."""
        return self.joined.get(user_id) is not None


class NotificationCounts:
    """Counts every event by the default rules.

    - Counts of a user begin when they join.
    - Their own events never count for them. A message or another event without a state key that they send
      marks its thread read up to it, as the specification says ("Marking notifications as read"); Synapse
      waits for a receipt. State events do not: a server sends them in users' names, after a change of
      profile into every room.
    - An event that is not shown is not counted: a rejected or soft-failed one, one before which the state is
      unknown. One that is redacted stays counted until it is read.
    """

    def __init__(
        self,
        *,
        server_name: str,
        database: Database,
        strings: Strings,
        thread_counts: ThreadCountsStore,
        rules: CompiledRules = DEFAULT_RULES,
    ) -> None:
        self._suffix = ":" + server_name
        self._database = database
        self._strings = strings
        self._thread_counts = thread_counts
        self._rules = rules

    async def load(self, room: int, room_id: str, state: CurrentState) -> RoomMemory:  # noqa: ARG002
        """Where the counts of the room stand, and who is in it."""

        def read(txn: Transaction) -> tuple[CountsAt, dict[str, CountsAt], dict[str, str]]:
            store = self._thread_counts
            return (
                store.main_now_txn(txn, [room])[room],
                store.threads_txn(txn, room, most=MOST_THREADS),
                store.latest_threaded_txn(txn, room),
            )

        joined = [user for user, membership in state.memberships.items() if membership == "join"]
        accounts = await self._strings.find(user for user in joined if self._is_local(user))
        main, threads, threaded = await self._database.read("notification counts", read)
        return RoomMemory(
            main=_Counts(main.notify, main.highlight),
            threads={root: _Counts(c.notify, c.highlight) for root, c in reversed(threads.items())},
            recent=RecentThreads(threaded),
            joined={user: accounts.get(user) for user in joined},
        )

    def contribute(self, memory: RoomMemory, appended: Appended) -> Contribution:
        """The event's cumulative counts, its exceptions, and the points up to which it makes users read."""
        newcomers = self._follow_members(memory, appended)
        stored, event = appended.stored, appended.stored.event
        thread = memory.recent.place(event.event_id, event.content)
        counts = before = memory.main if thread is None else memory.threads.get(thread, _NONE)
        records: list[Any] = []
        if is_shown(stored):
            outcome = self._classify(memory, appended)
            if outcome.notify:
                counts = _Counts(before.notify + 1, before.highlight + outcome.highlight)
                _advance(memory, thread, counts)
                if thread is not None:
                    records.append(ThreadCounts(appended.room, thread, appended.index, *counts))
            records.extend(_of_users(memory, appended, thread or MAIN, outcome, counts))
        records.extend(_of_newcomers(memory, appended, newcomers))
        return Contribution(records, EventCounts(thread, counts.notify, counts.highlight))

    def resolved(self, memory: RoomMemory, resolved: Resolved) -> Contribution:
        """Who is in the room by a resolution counts from there on."""
        return Contribution(_of_newcomers(memory, resolved, self._follow_members(memory, resolved)))

    def _is_local(self, user_id: str) -> bool:
        return user_id.endswith(self._suffix) and user_id.partition(":")[2] == self._suffix[1:]

    def _follow_members(self, memory: RoomMemory, cause: Appended | Resolved) -> list[int]:
        """Take in who has joined and left; returns the accounts of local users who are joined from now on."""
        newcomers = []
        for change in cause.changes:
            if change.type != "m.room.member":
                continue
            user = change.state_key
            if change.new is None or cause.state.membership(user) != "join":
                memory.joined.pop(user, None)
            elif user not in memory.joined:
                memory.joined[user] = account = self._strings.known(user) if self._is_local(user) else None
                if account is not None:
                    newcomers.append(account)
        return newcomers

    def _classify(self, memory: RoomMemory, appended: Appended) -> Classification:
        power = appended.state.power
        event = appended.stored.event
        context = RoomContext(
            member_count=len(memory.joined),
            sender_level=power.user(event.sender),
            notification_level=power.notification,
            is_recipient=memory.is_recipient,
        )
        return classify(self._rules, event, context)


def _of_newcomers(memory: RoomMemory, cause: Appended | Resolved, accounts: Sequence[int]) -> list[ReadHere]:
    """The points from which the counts of those who have joined begin."""
    return [ReadHere(account, cause.room, EVERY_THREAD, cause.index, *memory.main) for account in accounts]


def _of_users(
    memory: RoomMemory, appended: Appended, thread: str, outcome: Classification, counts: _Counts
) -> list[ReadHere | NotificationException]:
    """The rows of users for whom the event counts otherwise than for everyone, and of its sender."""
    deviations = dict(outcome.exceptions)
    rows: list[ReadHere | NotificationException] = []
    event = appended.stored.event
    sender = memory.joined.get(event.sender)
    if sender is not None:
        if _is_spoken(event):
            rows.append(ReadHere(sender, appended.room, thread, appended.index, *counts))
        elif outcome.notify:
            deviations[event.sender] = Deviation(-outcome.notify, -outcome.highlight)
    for user, deviation in deviations.items():
        account = memory.joined.get(user)
        if account is not None:
            rows.append(NotificationException(account, appended.room, thread, *deviation, appended.index))
    return rows


def _advance(memory: RoomMemory, thread: str | None, counts: _Counts) -> None:
    if thread is None:
        memory.main = counts
        return
    memory.threads.pop(thread, None)
    memory.threads[thread] = counts
    if len(memory.threads) > MOST_THREADS:
        del memory.threads[next(iter(memory.threads))]


def _is_spoken(event: Event) -> bool:
    return event.state_key is None and event.type != DUMMY
