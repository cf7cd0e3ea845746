# SPDX-License-Identifier: Apache-2.0
"""Requests that another process of this homeserver answers, because it owns what they are about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter

from twisted.internet.defer import Deferred

from federation.errors import MatrixError, Unavailable
from federation.http.dispatch import Match
from federation.http.endpoint import Answer, Endpoint
from federation.http.forwarded import packed_request, unpacked_answer
from federation.http.forwarding_counts import ForwardingCounts
from federation.http.service import ReceivedRequest
from federation.processes.link import Links, PeerUnreachable
from federation.processes.ownership import Ownership, Peer
from federation.rules.errors import RuleError
from storage.runtime.clock import Clock

OPERATION = "request"
"""The name under which the others answer; `forwarded.serve` makes the operation."""

_MOST_HOPS = 2
"""So many processes hand a request on; then it is answered by whoever has it. Where processes do not agree on
who owns what, the fences in the database keep the answer safe."""

PATIENCE = 12.0
"""Seconds in which an owner that cannot be reached is tried again. A process is known to be dead sooner."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 0.5  # seconds

_READS = (b"GET", b"HEAD")


class Forwarding:
    """Hands requests to the processes that own what they are about.

    `look` has the table of processes read soon. `resolve` gives the room id of an alias, where an endpoint's
    path may hold either; what it cannot resolve is for this process to answer.
    """

    def __init__(
        self,
        *,
        ownership: Ownership,
        links: Links,
        look: Callable[[], None],
        clock: Clock,
        resolve: Callable[[str], Awaitable[str]] | None = None,
        counts: ForwardingCounts | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._ownership = ownership
        self._links = links
        self._look = look
        self._clock = clock
        self._resolve = resolve
        self._counts = counts or ForwardingCounts()
        self._patience = patience

    async def answer_elsewhere(self, match: Match, request: ReceivedRequest) -> Answer | None:
        """What the owner answers; None: it is for this process to answer.

        Raises Unavailable, and PeerFailed, which nobody foresaw.
        """
        endpoint = match.route.endpoint
        if endpoint.owner is None or request.hops >= _MOST_HOPS:
            return None
        name = match.path[endpoint.owner]
        if name.startswith("#") and self._resolve is not None:
            try:
                name = await self._resolve(name)
            except (MatrixError, RuleError):
                return None
        peer = self._ownership.owner_of(name)
        if peer is None:
            return None
        self._counts.in_flight += 1
        try:
            return await self._ask_owner(name, peer, endpoint, request)
        finally:
            self._counts.in_flight -= 1

    async def _ask_owner(
        self, name: str, owner: Peer, endpoint: Endpoint, request: ReceivedRequest
    ) -> Answer | None:
        """Ask whoever owns `name`, until somebody answers; None if it has become this process."""
        packed = packed_request(request)
        until = self._clock.seconds() + self._patience
        pause = _FIRST_PAUSE
        peer: Peer | None = owner
        while peer is not None:
            try:
                return await self._ask(peer, packed, request)
            except PeerUnreachable as error:
                self._look()
                self._check_may_repeat(error, endpoint, until - pause)
            await self._pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._counts.retried += 1
            peer = self._ownership.owner_of(name)
        return None

    async def _ask(self, peer: Peer, packed: bytes, request: ReceivedRequest) -> Answer:
        began = perf_counter()
        cancellable = request.method in _READS
        answer, requester = unpacked_answer(
            await self._links.ask(peer, OPERATION, packed, cancellable=cancellable)
        )
        request.requester = requester
        self._counts.answered.add(perf_counter() - began)
        return answer

    def _check_may_repeat(self, error: PeerUnreachable, endpoint: Endpoint, until: float) -> None:
        """Raise Unavailable where the request must not be tried again, or not any longer."""
        if error.handed_over and not endpoint.is_repeatable:
            self._counts.given_up += 1
            raise Unavailable(
                "The process that does this was lost while it was at it; it is not known whether it was done"
            ) from error
        if self._clock.seconds() > until:
            self._counts.given_up += 1
            raise Unavailable("The process that does this cannot be reached at present") from error

    async def _pause(self, seconds: float) -> None:
        passed: Deferred[None] = Deferred(lambda _passed: call.cancel())
        call = self._clock.callLater(seconds, passed.callback, None)
        await passed
