# SPDX-License-Identifier: Apache-2.0
"""User-interactive authentication: a client proves stage by stage that a request may be carried out.

What is proved counts for one request: its method, its path, who makes it and, from the first completed stage
on, its body. Before anything is proved the body may still change, since clients ask with an empty one to see
what there is to prove.

spec: client-server-api, "User-Interactive Authentication API"
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping, Sequence
from hashlib import blake2b, sha256
from typing import Any

import attrs
import msgspec
from twisted.internet.task import deferLater

from federation.errors import AuthenticationRequired, Forbidden, MatrixError, Unauthorized, Unknown
from federation.http.endpoint import Call, Request, Requester
from federation.http.errors import error_answer
from homeserver.accounts.stages import Flow, Stage, text_of
from storage.persist import Unit
from storage.runtime.clock import Clock, milliseconds
from storage.user_interactive_sessions import (
    CompletedStages,
    DeletedUserInteractiveSession,
    UserInteractiveSession,
    UserInteractiveSessions,
)
from storage.write_queue import WriteQueue

_ID_BYTES = 24
_EXPIRY_SECONDS = 300.0
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


@attrs.frozen
class Proof:
    """Authentication that is complete: what came of each stage.

    `records` are to be written with what the request does: the session has then served its purpose.
    """

    results: Mapping[str, Any]
    records: tuple[Any, ...]


@attrs.frozen
class _Attempt:
    """A session as a request finds it, the hash of the request's body, and what is completed by now."""

    session_id: str
    session: UserInteractiveSession
    is_stored: bool
    body: bytes
    completed: dict[str, Any]
    flows: Sequence[Flow]


class UserInteractiveAuthentication:
    """Authenticates requests, and keeps what was proved so far.

    A session lasts `lifetime` milliseconds. A client may have `sessions_per_client` of them; a further one
    ends the oldest.
    """

    def __init__(
        self,
        *,
        sessions: UserInteractiveSessions,
        write_queue: WriteQueue,
        clock: Clock,
        lifetime: int = 3_600_000,
        sessions_per_client: int = 50,
    ) -> None:
        self._sessions = sessions
        self._write_queue = write_queue
        self._clock = clock
        self._lifetime = lifetime
        self._sessions_per_client = sessions_per_client

    async def authenticate(
        self, call: Call[Any, Any], auth: Mapping[str, Any] | None, flows: Sequence[Flow]
    ) -> Proof:
        """Return once one of `flows` is complete; `auth` is the member of this name of the request's body.

        Raises `AuthenticationRequired` while there is more to prove, `Forbidden` where another request was
        authenticated, and what a stage raises that cannot be tried again.
        """
        auth = auth or {}
        stage_type, session_id = text_of(auth, "type"), text_of(auth, "session")
        if session_id is None:
            attempt = self._new_attempt(call, flows)
            if stage_type is None:
                raise await self._required(attempt)
        else:
            attempt = await self._found_attempt(call, flows, session_id)
        if stage_type is not None and stage_type not in attempt.completed:
            await self._complete(attempt, stage_type, auth, call.requester)
        if _is_complete(attempt):
            ends = (DeletedUserInteractiveSession(attempt.session.session),) if attempt.is_stored else ()
            return Proof(attempt.completed, ends)
        raise await self._required(attempt)

    async def complete_elsewhere(
        self, session_id: str, stage: Stage, auth: Mapping[str, Any], flows: Sequence[Flow]
    ) -> None:
        """Complete a stage on a page of its own; the client then sends its request again.

        Raises `Unknown` for no session, and what the stage raises. spec: "Fallback"
        """
        session = await self._live(session_id)
        if session is None:
            raise Unknown("There is no such session, or it has expired")
        attempt = _Attempt(session_id, session, True, session.body, dict(session.completed), flows)
        if stage.type in attempt.completed:
            return
        if _next_stage(attempt, stage.type) is None:
            raise Unknown(f"{stage.type} is not the next stage")
        attempt.completed[stage.type] = await stage.attempt(auth, None)
        await self._store(attempt)

    async def run(self) -> None:
        """Forget expired sessions, again and again."""
        while True:
            await self._sessions.expire(milliseconds(self._clock))
            await deferLater(self._clock, _EXPIRY_SECONDS)  # type: ignore[arg-type]

    def _new_attempt(self, call: Call[Any, Any], flows: Sequence[Flow]) -> _Attempt:
        session_id = secrets.token_urlsafe(_ID_BYTES)
        session = UserInteractiveSession(
            session=_digest(session_id),
            client=_client(call),
            endpoint=_endpoint_hash(session_id, call),
            body=_body_hash(session_id, call.request),
            expires_ts=milliseconds(self._clock) + self._lifetime,
        )
        return _Attempt(session_id, session, False, session.body, {}, flows)

    async def _found_attempt(self, call: Call[Any, Any], flows: Sequence[Flow], session_id: str) -> _Attempt:
        session = await self._live(session_id)
        if session is None:
            error = Unknown("There is no such session, or it has expired")
            raise await self._required(self._new_attempt(call, flows), error)
        body = _body_hash(session_id, call.request)
        differs = session.completed and session.body != body
        if differs or session.endpoint != _endpoint_hash(session_id, call):
            raise Forbidden("This is not the request that was authenticated in the session")
        return _Attempt(session_id, session, True, body, dict(session.completed), flows)

    async def _live(self, session_id: str) -> UserInteractiveSession | None:
        session = await self._sessions.get(_digest(session_id))
        return session if session is not None and session.expires_ts > milliseconds(self._clock) else None

    async def _complete(
        self, attempt: _Attempt, stage_type: str, auth: Mapping[str, Any], requester: Requester | None
    ) -> None:
        stage = _next_stage(attempt, stage_type)
        if stage is None:
            error = Unauthorized(f"{stage_type[:100]} is not the next stage of any flow")
            raise await self._required(attempt, error)
        try:
            attempt.completed[stage_type] = await stage.attempt(auth, requester)
        except (Forbidden, Unauthorized) as error:
            raise await self._required(attempt, error) from None

    async def _required(self, attempt: _Attempt, error: MatrixError | None = None) -> AuthenticationRequired:
        """The answer that asks for more; the session is kept as it is now."""
        await self._store(attempt)
        stages = {stage.type: stage for flow in attempt.flows for stage in flow}
        body: dict[str, Any] = {} if error is None else dict(error_answer(error).value)
        body["flows"] = [{"stages": [stage.type for stage in flow]} for flow in attempt.flows]
        body["params"] = {name: stage.params for name, stage in stages.items() if stage.params is not None}
        body["session"] = attempt.session_id
        if attempt.completed:
            body["completed"] = list(attempt.completed)
        return AuthenticationRequired(body)

    async def _store(self, attempt: _Attempt) -> None:
        session = attempt.session
        if not attempt.is_stored:
            surplus = await self._sessions.surplus(session.client, self._sessions_per_client - 1)
            ends = [DeletedUserInteractiveSession(old) for old in surplus]
            made = attrs.evolve(session, completed=attempt.completed)
            await self._write_queue.submit(Unit(records=(*ends, made)))
        elif attempt.completed != session.completed or attempt.body != session.body:
            done = CompletedStages(session.session, attempt.body, attempt.completed)
            await self._write_queue.submit(Unit(records=(done,)))


def _next_stage(attempt: _Attempt, stage_type: str) -> Stage | None:
    """The stage of this type, if it comes next in a flow that begins with what is completed."""
    done = list(attempt.completed)
    for flow in attempt.flows:
        types = [stage.type for stage in flow]
        if types[: len(done) + 1] == [*done, stage_type]:
            return flow[len(done)]
    return None


def _is_complete(attempt: _Attempt) -> bool:
    done = list(attempt.completed)
    return any(done == [stage.type for stage in flow] for flow in attempt.flows)


def _digest(session_id: str) -> bytes:
    return sha256(session_id.encode()).digest()


def _endpoint_hash(session_id: str, call: Call[Any, Any]) -> bytes:
    who = call.requester.user_id if call.requester is not None else ""
    return _keyed(session_id, b"\0".join((call.request.method, call.request.path, who.encode())))


def _body_hash(session_id: str, request: Request) -> bytes:
    """A hash of the body without `auth`.

    The body may hold a password; the session's id, which is kept nowhere, makes the hash of no use to
    whoever reads the database.
    """
    try:
        members = _MEMBERS.decode(request.body() or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _keyed(session_id, request.body())
    kept = sorted((name, bytes(raw)) for name, raw in members.items() if name != "auth")
    return _keyed(session_id, msgspec.msgpack.encode(kept))


def _keyed(session_id: str, content: bytes) -> bytes:
    return blake2b(content, key=session_id.encode(), digest_size=32).digest()


def _client(call: Call[Any, Any]) -> str:
    """For whom sessions are counted: the user, or the address (of IPv6, the network of 64 bits)."""
    if call.requester is not None:
        return call.requester.user_id
    try:
        address = ipaddress.ip_address(call.request.client_address)
    except ValueError:
        return call.request.client_address
    if address.version == 6:
        return str(ipaddress.ip_network((address.packed, 64), strict=False))
    return str(address)
