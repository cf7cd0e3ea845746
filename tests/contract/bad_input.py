# SPDX-License-Identifier: Apache-2.0
"""Bad requests and the judgement of their answers.

No input gives a status of 500 or above (502 to 504 excepted where another server is asked), every refusal is
JSON with `errcode` and `error`, the answer comes soon, and the server goes on answering. Where the request
is surely wrong, it is refused; where the specification or `docs/architecture.md` names the code, with that
code.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.contract.connection import CLIENT, Connection, Reply, User
from tests.contract.operations import Operation
from tests.contract.schema import Contract, ContractError

SOON = 5.0
"""Seconds within which every answer comes."""

ENDS_SESSION = frozenset({f"POST {CLIENT}/logout", f"POST {CLIENT}/logout/all"})
"""Operations after whose success the access token is gone."""

WITH_THE_TOKEN = "with the token"
"""The `authorization` of a case that is sent with the user's own token."""


@attrs.frozen
class Refusal:
    """The request must be refused with a status of 400 to 499 and one of the codes, with any if there are
    none."""

    errcodes: frozenset[str] = frozenset()


def refused(*errcodes: str) -> Refusal:
    """Return a refusal with one of the codes."""
    return Refusal(errcodes=frozenset(errcodes))


@attrs.frozen
class Case:
    """One bad request. `fault` says what is wrong with it; `path` and `query` are percent-encoded."""

    operation: Operation
    fault: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    authorization: str | None = WITH_THE_TOKEN
    refusal: Refusal | None = None
    """None: any answer that is no failure."""
    asks_peer: bool = False
    """Whether the server may have to ask another one, whose failure it may pass on."""


@attrs.frozen
class Judge:
    """Sends cases and says what is wrong with the answers."""

    connection: Connection
    contract: Contract
    soon: float = SOON

    async def faults(self, cases: Iterable[Case], user: User) -> list[str]:
        """Return the faults of the answers to all the cases, sent one after the other by `user`."""
        found = []
        for case in cases:
            fault, reply = await self.fault(case, user)
            if fault is not None:
                found.append(f"{case.operation.name}, {case.fault}: {fault}")
            if reply is not None and reply.status < 300 and case.operation.name in ENDS_SESSION:
                user = await user.log_in_again()
        return found + await self._still_answers(user)

    async def fault(self, case: Case, user: User) -> tuple[str | None, Reply | None]:
        """Return what is wrong with the answer to one case, if anything, and the answer, if one came."""
        began = time.monotonic()
        try:
            reply = await self._send(case, user)
        except Exception as error:
            if time.monotonic() - began >= 2 * self.soon:
                return f"no answer within {2 * self.soon:g} seconds", None
            return f"no answer: {error!r}", None
        took = time.monotonic() - began
        if took > self.soon:
            return f"the answer took {took:.1f} seconds", reply
        return self._fault_of(case, reply), reply

    async def _send(self, case: Case, user: User) -> Reply:
        headers = {**case.headers}
        if case.authorization == WITH_THE_TOKEN:
            headers |= user.authorization
        elif case.authorization is not None:
            headers["Authorization"] = case.authorization
        request = self.connection.request(case.operation.method, case.path, case.query, headers, case.body)
        return await Deferred.fromCoroutine(request).addTimeout(2 * self.soon, reactor)

    def _fault_of(self, case: Case, reply: Reply) -> str | None:
        shown = f"{reply.status} {reply.body[:200]!r}"
        if reply.status >= 500 and not (case.asks_peer and 502 <= reply.status <= 504):
            return f"answered {shown}"
        try:
            answer = self.contract.check(case.operation, reply.status, reply.content_type, reply.body)
        except ContractError as error:
            return str(error)
        if case.refusal is None:
            return None
        if not 400 <= reply.status < 500:
            return f"is not refused, but answered {shown}"
        errcode = answer.get("errcode")
        if case.refusal.errcodes and errcode not in case.refusal.errcodes:
            return f"is refused with {errcode}, not {' or '.join(sorted(case.refusal.errcodes))}: {shown}"
        return None

    async def _still_answers(self, user: User) -> list[str]:
        found = []
        for path in ("/_matrix/client/versions", f"{CLIENT}/account/whoami"):
            request = self.connection.request("GET", path, "", user.authorization, b"")
            try:
                reply = await Deferred.fromCoroutine(request).addTimeout(self.soon, reactor)
            except Exception as error:
                found.append(f"afterwards GET {path} has no answer: {error!r}")
            else:
                if reply.status != 200:
                    found.append(f"afterwards GET {path} answers {reply.status} {reply.body[:200]!r}")
        return found
