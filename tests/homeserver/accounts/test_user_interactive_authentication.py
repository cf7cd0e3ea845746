# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from federation.errors import Forbidden, LimitExceeded, Unknown
from federation.http.endpoint import Auth, Call, Endpoint, Json, NoQuery, Requester
from homeserver.accounts.stages import DummyStage, Flow, PasswordStage
from homeserver.accounts.user_interactive_authentication import UserInteractiveAuthentication
from storage.persist import Unit
from tests.support.accounts import PASSWORD, AccountParts
from tests.support.http import Client, Response, serve
from tests.support.reactor import in_reactor

PATH = "/_matrix/client/v3/guarded"
DUMMY = {"type": "m.login.dummy"}
RIDDLE = {"type": "org.example.riddle", "answer": "time"}


class RiddleStage:
    """Asks a riddle."""

    type = "org.example.riddle"
    params = {"question": "What flies?"}  # noqa: RUF012

    async def attempt(self, auth: Mapping[str, Any], requester: Requester | None) -> dict[str, str]:
        if auth.get("answer") == "again":
            raise LimitExceeded(retry_after_ms=1000)
        if auth.get("answer") != "time":
            raise Forbidden("No, it is not that")
        return {"answered": "time"}


@attrs.frozen
class GuardedBody:
    auth: dict[str, Any] | None = None
    value: int = 0


@attrs.frozen
class Guarded:
    """Endpoints behind user-interactive authentication: one for anybody, one for the logged-in."""

    parts: AccountParts
    authentication: UserInteractiveAuthentication

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("POST", PATH, self.for_anybody, auth=Auth.OPTIONAL, body=GuardedBody),
            Endpoint("POST", f"{PATH}/other", self.for_anybody, auth=Auth.OPTIONAL, body=GuardedBody),
            Endpoint("PUT", PATH, self.for_anybody, auth=Auth.OPTIONAL, body=GuardedBody),
            Endpoint("POST", f"{PATH}/password", self.with_password, body=GuardedBody),
        )

    async def for_anybody(self, call: Call[NoQuery, GuardedBody]) -> Json:
        flows = ((DummyStage(), RiddleStage()), (RiddleStage(), DummyStage()), (ShortStage(),))
        return await self._guarded(call, flows)

    async def with_password(self, call: Call[NoQuery, GuardedBody]) -> Json:
        return await self._guarded(call, ((PasswordStage(password_check=self.parts.password_check),),))

    async def _guarded(self, call: Call[NoQuery, GuardedBody], flows: tuple[Flow, ...]) -> Json:
        proof = await self.authentication.authenticate(call, call.body.auth, flows)
        await self.parts.storing.queue.submit(Unit(records=proof.records))
        return Json({"results": proof.results, "value": call.body.value})


class ShortStage(DummyStage):
    """A way around the others."""

    type = "org.example.short"


@pytest.fixture
def guarded(parts: AccountParts) -> Iterator[Client]:
    """A client of the guarded endpoints, which keep ten sessions of a client at most."""
    authentication = UserInteractiveAuthentication(
        sessions=parts.storage.user_interactive_sessions,
        write_queue=parts.storing.queue,
        clock=parts.clock,
        lifetime=60_000,
        sessions_per_client=10,
    )
    endpoints = Guarded(parts, authentication).endpoints()
    with serve(endpoints, authenticate=parts.access_tokens.authenticate) as server:
        yield server.client(token=None)


def ask(client: Client, auth: Any, path: str = PATH, value: int = 0, method: str = "POST") -> Response:
    body = {"value": value} if auth is None else {"auth": auth, "value": value}
    return client.request(method, path, body)


def begin(client: Client, path: str = PATH, value: int = 0) -> str:
    """A new session."""
    answer = ask(client, None, path, value)
    assert answer.status == 401
    return str(answer.json["session"])


def sessions_left(parts: AccountParts) -> int:
    return in_reactor(_count(parts))


async def _count(parts: AccountParts) -> int:
    sql = "SELECT count(*) FROM user_interactive_sessions"
    row = await parts.storage.database.read("count", lambda txn: txn.row(sql))
    return int(row[0])


def test_the_first_answer_says_what_there_is_to_prove(guarded):
    for auth in (None, {}, {"answer": "time"}):
        answer = ask(guarded, auth)
        assert answer.status == 401
        session = answer.json["session"]
        assert answer.json == {
            "flows": [
                {"stages": ["m.login.dummy", "org.example.riddle"]},
                {"stages": ["org.example.riddle", "m.login.dummy"]},
                {"stages": ["org.example.short"]},
            ],
            "params": {"org.example.riddle": {"question": "What flies?"}},
            "session": session,
        }
        assert len(session) == 32


def test_stages_are_completed_one_by_one(parts, guarded):
    session = begin(guarded)
    answer = ask(guarded, {**DUMMY, "session": session})
    assert answer.status == 401
    assert answer.json["completed"] == ["m.login.dummy"]
    assert answer.json["session"] == session
    assert "errcode" not in answer.json
    answer = ask(guarded, {**RIDDLE, "session": session})
    assert answer.status == 200
    assert answer.json == {
        "results": {"m.login.dummy": True, "org.example.riddle": {"answered": "time"}},
        "value": 0,
    }
    assert sessions_left(parts) == 0
    assert ask(guarded, {**RIDDLE, "session": session}).status == 401


def test_another_order_is_another_flow(guarded):
    session = begin(guarded)
    assert ask(guarded, {**RIDDLE, "session": session}).json["completed"] == ["org.example.riddle"]
    answer = ask(guarded, {**DUMMY, "session": session})
    assert list(answer.json["results"]) == ["org.example.riddle", "m.login.dummy"]


def test_a_wrong_answer_may_be_tried_again(guarded):
    session = begin(guarded)
    ask(guarded, {**DUMMY, "session": session})
    answer = ask(guarded, {**RIDDLE, "answer": "a bird", "session": session})
    assert answer.status == 401
    assert (answer.errcode, answer.json["error"]) == ("M_FORBIDDEN", "No, it is not that")
    assert answer.json["completed"] == ["m.login.dummy"]
    assert len(answer.json["flows"]) == 3
    assert ask(guarded, {**RIDDLE, "session": session}).status == 200


def test_a_stage_that_is_not_next_completes_nothing(guarded):
    session = begin(guarded)
    ask(guarded, {**DUMMY, "session": session})
    for stage in ("org.example.short", "org.example.unknown", "m.login.password"):
        answer = ask(guarded, {"type": stage, "session": session})
        assert answer.status == 401
        assert answer.errcode == "M_UNAUTHORIZED"
        assert answer.json["completed"] == ["m.login.dummy"]


def test_a_completed_stage_is_not_tried_again(guarded):
    session = begin(guarded)
    ask(guarded, {**RIDDLE, "session": session})
    answer = ask(guarded, {**RIDDLE, "answer": "a bird", "session": session})
    assert answer.status == 401
    assert "errcode" not in answer.json
    assert answer.json["completed"] == ["org.example.riddle"]


def test_the_session_alone_asks_how_it_stands(guarded):
    session = begin(guarded)
    ask(guarded, {**DUMMY, "session": session})
    answer = ask(guarded, {"session": session})
    assert (answer.status, answer.json["completed"]) == (401, ["m.login.dummy"])


def test_a_stage_may_be_attempted_without_a_session(parts, guarded):
    assert ask(guarded, {"type": "org.example.short"}).json["results"] == {"org.example.short": True}
    assert sessions_left(parts) == 0
    answer = ask(guarded, DUMMY)
    assert (answer.status, answer.json["completed"]) == (401, ["m.login.dummy"])
    assert ask(guarded, {**RIDDLE, "session": answer.json["session"]}).status == 200


def test_a_session_that_is_none_gives_a_new_one(guarded):
    for session in ("nonsense", "", "x" * 70_000):
        answer = ask(guarded, {**RIDDLE, "session": session})
        assert (answer.status, answer.errcode) == (401, "M_UNKNOWN")
        assert "completed" not in answer.json
        fresh = answer.json["session"]
        assert ask(guarded, {"type": "org.example.short", "session": fresh}).status == 200


def test_what_was_proved_counts_for_that_request_alone(parts, guarded):
    in_reactor(parts.create("alice"))
    token = in_reactor(_token(parts))
    session = begin(guarded)
    ask(guarded, {**DUMMY, "session": session}, value=1)
    proof = {**RIDDLE, "session": session}
    for answer in (
        ask(guarded, proof, value=2),
        ask(guarded, proof, path=f"{PATH}/other", value=1),
        ask(guarded, proof, value=1, method="PUT"),
        ask(guarded.logged_in(token), proof, value=1),
        guarded.post(PATH, {"auth": proof, "value": 1, "unknown": 2}),
        guarded.post(PATH, {"auth": proof}),
    ):
        assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    assert ask(guarded, proof, value=1).json["value"] == 1


async def _token(parts: AccountParts) -> str:
    alice = await parts.accounts.find("alice")
    assert alice is not None
    return await parts.log_in(alice)


def test_before_anything_is_proved_the_body_may_change(guarded):
    session = begin(guarded, value=1)
    assert ask(guarded, {"session": session}, value=2).status == 401
    assert ask(guarded, {**DUMMY, "session": session}, value=3).json["completed"] == ["m.login.dummy"]
    assert ask(guarded, {**RIDDLE, "session": session}, value=3).json["value"] == 3


def test_order_and_space_make_no_other_body(guarded):
    session = begin(guarded)
    ask(guarded, {**DUMMY, "session": session}, value=3)
    text = '{ "value" :3,\n"auth": ' + json.dumps({**RIDDLE, "session": session}) + " }"
    assert guarded.post(PATH, body=text.encode()).json["value"] == 3


def test_sessions_end(parts, guarded):
    session = begin(guarded)
    ask(guarded, {**DUMMY, "session": session})
    parts.clock.ahead += 59
    assert ask(guarded, {"session": session}).json["completed"] == ["m.login.dummy"]
    parts.clock.ahead += 2
    answer = ask(guarded, {**RIDDLE, "session": session})
    assert (answer.status, answer.errcode) == (401, "M_UNKNOWN")
    assert answer.json["session"] != session


def test_a_client_has_so_many_sessions_and_no_more(parts, guarded):
    sessions = []
    for _ in range(12):
        sessions.append(begin(guarded))
        parts.clock.ahead += 0.01
    assert sessions_left(parts) == 10
    assert ask(guarded, {**DUMMY, "session": sessions[1]}).errcode == "M_UNKNOWN"
    assert ask(guarded, {**DUMMY, "session": sessions[11]}).json["completed"] == ["m.login.dummy"]


ODD_AUTHENTICATION_DICTIONARIES = [
    ([], 400, "M_BAD_JSON"),
    ("m.login.dummy", 400, "M_BAD_JSON"),
    ({"type": 5}, 400, "M_BAD_JSON"),
    ({"session": 5}, 400, "M_BAD_JSON"),
    ({"type": None, "session": None}, 401, None),
    ({"type": "org.example.unknown", "answer": "time"}, 401, "M_UNAUTHORIZED"),
    ({"type": "x" * 5000}, 401, "M_UNAUTHORIZED"),
]


def test_odd_authentication_dictionaries(guarded):
    for auth, status, errcode in ODD_AUTHENTICATION_DICTIONARIES:
        answer = ask(guarded, auth)
        assert (answer.status, answer.json.get("errcode")) == (status, errcode), auth


def test_what_a_stage_refuses_otherwise_ends_the_request(guarded):
    answer = ask(guarded, {**RIDDLE, "answer": "again", "session": begin(guarded)})
    assert (answer.status, answer.errcode) == (429, "M_LIMIT_EXCEEDED")
    assert "flows" not in answer.json


@pytest.fixture
def alice(parts: AccountParts, guarded: Client) -> Client:
    """Alice, logged in; there is a Bob, too."""
    in_reactor(parts.create("alice"))
    in_reactor(parts.create("bob"))
    return guarded.logged_in(in_reactor(_token(parts)))


A_PASSWORD_PROVES_WHO_ONE_IS = [
    {"identifier": {"type": "m.id.user", "user": "alice"}},
    {"identifier": {"type": "m.id.user", "user": "@alice:test.example"}},
    {"user": "alice"},
]


def test_a_password_proves_who_one_is(alice):
    for who in A_PASSWORD_PROVES_WHO_ONE_IS:
        session = begin(alice, f"{PATH}/password")
        auth = {"type": "m.login.password", "session": session, "password": PASSWORD, **who}
        answer = ask(alice, auth, f"{PATH}/password")
        assert answer.json["results"] == {"m.login.password": "@alice:test.example"}


OTHER_PASSWORDS_PROVE_NOTHING = [
    ({"user": "alice", "password": "wrong"}, 401, "M_FORBIDDEN"),
    ({"user": "bob", "password": PASSWORD}, 401, "M_FORBIDDEN"),
    ({"user": "nobody", "password": PASSWORD}, 401, "M_FORBIDDEN"),
    ({"user": "alice"}, 400, "M_MISSING_PARAM"),
    ({"password": PASSWORD}, 400, "M_MISSING_PARAM"),
    ({"user": "alice", "password": 5}, 400, "M_BAD_JSON"),
    ({"user": 5, "password": PASSWORD}, 400, "M_BAD_JSON"),
    ({"identifier": "alice", "password": PASSWORD}, 400, "M_BAD_JSON"),
    ({"identifier": {}, "password": PASSWORD}, 400, "M_BAD_JSON"),
    ({"identifier": {"type": "m.id.user"}, "password": PASSWORD}, 400, "M_MISSING_PARAM"),
    (
        {
            "identifier": {"type": "m.id.thirdparty", "medium": "email", "address": "a@b.example"},
            "password": PASSWORD,
        },
        401,
        "M_FORBIDDEN",
    ),
]


def test_other_passwords_prove_nothing(alice):
    for auth, status, errcode in OTHER_PASSWORDS_PROVE_NOTHING:
        answer = ask(alice, {"type": "m.login.password", **auth}, f"{PATH}/password")
        assert (answer.status, answer.errcode) == (status, errcode), auth


async def test_a_stage_is_completed_on_a_page_of_its_own(parts):
    authentication = parts.authentication
    flows = ((DummyStage(), RiddleStage()),)
    with pytest.raises(Unknown):
        await authentication.complete_elsewhere("nonsense", DummyStage(), {}, flows)


def test_stages_completed_elsewhere_count_as_any_other(parts, guarded):
    authentication = parts.authentication
    flows = ((DummyStage(), RiddleStage()),)
    session = begin(guarded, value=7)

    def elsewhere(stage: Any, auth: Mapping[str, Any]) -> None:
        in_reactor(authentication.complete_elsewhere(session, stage, auth, flows))

    with pytest.raises(Unknown):
        elsewhere(RiddleStage(), RIDDLE)
    elsewhere(DummyStage(), {})
    elsewhere(DummyStage(), {})
    with pytest.raises(Forbidden):
        elsewhere(RiddleStage(), {"answer": "a bird"})
    assert ask(guarded, {"session": session}, value=7).json["completed"] == ["m.login.dummy"]
    elsewhere(RiddleStage(), RIDDLE)
    assert ask(guarded, {"session": session}, value=8).status == 403
    answer = ask(guarded, {"session": session}, value=7)
    assert (answer.status, answer.json["value"]) == (200, 7)


def test_expired_sessions_are_forgotten(parts, guarded):
    begin(guarded)
    parts.clock.ahead += 61
    kept = begin(guarded)
    in_reactor(_run_until_left(parts, 1))
    assert ask(guarded, {**DUMMY, "session": kept}).json["completed"] == ["m.login.dummy"]


async def _run_until_left(parts: AccountParts, count: int) -> None:
    running = Deferred.fromCoroutine(parts.authentication.run())
    running.addErrback(lambda failure: failure.trap(CancelledError))
    left = -1
    for _ in range(500):
        left = await _count(parts)
        if left == count:
            break
        await deferLater(reactor, 0.01)
    running.cancel()
    await running
    assert left == count
