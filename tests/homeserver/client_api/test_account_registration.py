# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from federation.errors import LimitExceeded
from homeserver.config.passwords import PasswordPolicy
from storage.registration_tokens import RegistrationToken
from tests.support.accounts import PASSWORD, AccountServer, account_server
from tests.support.databases import one_set
from tests.support.http import Response
from tests.support.reactor import in_reactor

pytestmark = one_set  # one set of components serves accounts here; the contract has two

REGISTER = "/_matrix/client/v3/register"
AVAILABLE = f"{REGISTER}/available"
VALIDITY = "/_matrix/client/v1/register/m.login.registration_token/validity"
WHOAMI = "/_matrix/client/v3/account/whoami"
DUMMY = {"type": "m.login.dummy"}
TOKEN = "m.login.registration_token"


@pytest.fixture
def server(database) -> Iterator[AccountServer]:
    """A server where anybody may register."""
    with account_server(database) as made:
        yield made


@pytest.fixture
def token_server(database) -> Iterator[AccountServer]:
    """A server where one needs a token: `good`, `once` or `late`, which ends in a minute."""
    with account_server(database, requires_token=True) as made:
        now = int(made.parts.clock.seconds() * 1000)
        tokens = (
            RegistrationToken("good", created_ts=now),
            RegistrationToken("once", created_ts=now, uses_allowed=1),
            RegistrationToken("late", created_ts=now, expires_ts=now + 60_000),
        )
        in_reactor(made.parts.storing.write(*tokens))
        yield made


def register(server: AccountServer, auth=DUMMY, **body) -> Response:
    """Register as a client does: ask, then prove."""
    body = {"password": PASSWORD, **body}
    answer = server.client.post(REGISTER, body)
    if answer.status != 401:
        return answer
    return server.client.post(REGISTER, {**body, "auth": {**auth, "session": answer.json["session"]}})


def test_what_there_is_to_prove(server):
    answer = server.client.post(REGISTER, {})
    assert answer.status == 401
    assert answer.json["flows"] == [{"stages": ["m.login.dummy"]}]
    assert answer.json["params"] == {}
    assert "errcode" not in answer.json


def test_a_registration(server):
    answer = register(
        server,
        username="alice",
        device_id="PHONE",
        initial_device_display_name="My phone",
        refresh_token=True,
    )
    assert answer.status == 200
    token = answer.json["access_token"]
    assert answer.json == {
        "user_id": "@alice:test.example",
        "access_token": token,
        "device_id": "PHONE",
        "home_server": "test.example",
    }
    assert server.with_token(token).get(WHOAMI).json["device_id"] == "PHONE"
    login = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    assert server.client.post("/_matrix/client/v3/login", login).status == 200


def test_the_old_path_and_the_kind_that_is_meant(server):
    body = {"username": "alice", "password": PASSWORD, "auth": DUMMY}
    assert server.client.post("/_matrix/client/r0/register?kind=user", body).status == 200


def test_a_session_of_an_empty_question_will_do(server):
    session = server.client.post(REGISTER, {}).json["session"]
    body = {"username": "alice", "password": PASSWORD, "auth": {**DUMMY, "session": session}}
    assert server.client.post(REGISTER, body).status == 200


def test_names_that_nobody_gave(server):
    first, second = register(server).json["user_id"], register(server).json["user_id"]
    assert re.fullmatch("@[a-z]{12}:test.example", first)
    assert first != second


def test_capitals_become_lower_case(server):
    assert register(server, username="ALICE").json["user_id"] == "@alice:test.example"


NAMES_THAT_ARE_ALLOWED = [
    "a.b",
    "a_b",
    "a=b",
    "a-b",
    "a/b",
    "a+b",
    "4",
    "x" * 241,
]


def test_names_that_are_allowed(server):
    for username in NAMES_THAT_ARE_ALLOWED:
        assert register(server, username=username).json["user_id"] == f"@{username}:test.example"


def test_without_a_login(server):
    answer = register(server, username="alice", inhibit_login=True)
    assert answer.json == {"user_id": "@alice:test.example", "home_server": "test.example"}
    alice = in_reactor(server.parts.accounts.find("alice"))
    assert in_reactor(server.parts.storage.devices.of_account(alice.number)) == []


WHAT_IS_REFUSED_BEFORE_ANYTHING_IS_PROVED = [
    ({"username": "taken"}, 400, "M_USER_IN_USE"),
    ({"username": "TAKEN"}, 400, "M_USER_IN_USE"),
    ({"username": "irc_bob"}, 400, "M_EXCLUSIVE"),
    ({"username": ""}, 400, "M_INVALID_USERNAME"),
    ({"username": "a!b"}, 400, "M_INVALID_USERNAME"),
    ({"username": "@alice:test.example"}, 400, "M_INVALID_USERNAME"),
    ({"username": "ünï"}, 400, "M_INVALID_USERNAME"),
    ({"username": "x" * 242}, 400, "M_INVALID_USERNAME"),
    ({"username": "x" * 70_000}, 400, "M_INVALID_USERNAME"),
    ({"username": "a\0b"}, 400, "M_BAD_JSON"),
    ({"username": 5}, 400, "M_BAD_JSON"),
    ({"username": "alice", "password": ""}, 400, "M_WEAK_PASSWORD"),
    ({"username": "alice", "password": "x" * 513}, 400, "M_INVALID_PARAM"),
    ({"username": "alice", "password": 5}, 400, "M_BAD_JSON"),
    ({"username": "alice", "device_id": "x" * 256}, 400, "M_INVALID_PARAM"),
    ({"username": "alice", "inhibit_login": "yes"}, 400, "M_BAD_JSON"),
    ({"username": "alice", "auth": "m.login.dummy"}, 400, "M_BAD_JSON"),
    ({"username": "alice", "type": "m.login.application_service"}, 400, "M_UNKNOWN"),
]


def test_what_is_refused_before_anything_is_proved(server):
    in_reactor(server.parts.create("taken"))
    for body, status, errcode in WHAT_IS_REFUSED_BEFORE_ANYTHING_IS_PROVED:
        answer = server.client.post(REGISTER, {"password": PASSWORD, **body})
        assert (answer.status, answer.errcode) == (status, errcode), body


def test_a_password_is_needed_in_the_end(server):
    answer = register(server, username="alice", password=None)
    assert (answer.status, answer.errcode) == (400, "M_MISSING_PARAM")
    assert in_reactor(server.parts.accounts.find("alice")) is None


def test_guests_are_refused(server):
    answer = server.client.post(f"{REGISTER}?kind=guest", {})
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    assert server.client.post(f"{REGISTER}?kind=robot", {}).errcode == "M_INVALID_PARAM"


def test_of_many_at_once_one_gets_the_name(server):
    body = {"username": "alice", "password": PASSWORD, "auth": DUMMY}
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: server.client.post(REGISTER, body), range(4)))
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400]
    assert {answer.errcode for answer in answers if answer.status == 400} == {"M_USER_IN_USE"}


def test_closed(database):
    with account_server(database, enabled=False) as server:
        for answer in (
            server.client.post(REGISTER, {}),
            server.client.post(REGISTER, {"username": "!", "auth": DUMMY}),
            server.client.get(f"{AVAILABLE}?username=alice"),
            server.client.get(f"{VALIDITY}?token=good"),
        ):
            assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")


def test_the_password_policy(database):
    policy = PasswordPolicy(enabled=True, minimum_length=8)
    with account_server(database, policy=policy) as server:
        answer = server.client.post(REGISTER, {"username": "alice", "password": "short"})
        assert (answer.status, answer.errcode) == (400, "M_WEAK_PASSWORD")
        assert "8 characters" in answer.json["error"]


class Few:
    """Limits of so many for each address."""

    def __init__(self, **allowed: int) -> None:
        self.allowed = allowed
        self.counted: list[tuple[str, str]] = []

    def count(self, name: str, who: str) -> None:
        self.check(name, who)
        self.counted.append((name, who))

    def check(self, name: str, who: str) -> None:
        if self.counted.count((name, who)) >= self.allowed[name]:
            raise LimitExceeded(retry_after_ms=1000)


def test_registrations_are_limited_and_questions_are_not_counted(database):
    limits = Few(rc_registration=1)
    with account_server(database, limits=limits) as server:
        for _ in range(3):
            assert server.client.post(REGISTER, {}).status == 401
        assert register(server, username="alice").status == 200
        assert limits.counted == [("rc_registration", "127.0.0.1")]
        assert register(server, username="bob").errcode == "M_LIMIT_EXCEEDED"


def test_tokens_can_only_be_tried_so_often(database):
    limits = Few(rc_registration=1, rc_registration_token_validity=2)
    with account_server(database, requires_token=True, limits=limits) as server:
        for _ in range(2):
            assert register(server, {"type": TOKEN, "token": "guess"}).errcode == "M_UNAUTHORIZED"
        assert register(server, {"type": TOKEN, "token": "guess"}).errcode == "M_LIMIT_EXCEEDED"


# Whether a name is free


def test_a_free_name(server):
    answer = server.client.get(f"{AVAILABLE}?username=alice")
    assert (answer.status, answer.json) == (200, {"available": True})


NAMES_THAT_ARE_NOT_FREE = [
    ("?username=taken", "M_USER_IN_USE"),
    ("?username=Taken", "M_USER_IN_USE"),
    ("?username=irc_bob", "M_EXCLUSIVE"),
    ("?username=a%20b", "M_INVALID_USERNAME"),
    ("?username=", "M_INVALID_USERNAME"),
    ("?username=%00", "M_INVALID_PARAM"),
    ("", "M_MISSING_PARAM"),
]


def test_names_that_are_not_free(server):
    in_reactor(server.parts.create("taken"))
    for query, errcode in NAMES_THAT_ARE_NOT_FREE:
        answer = server.client.get(f"{AVAILABLE}{query}")
        assert (answer.status, answer.errcode) == (400, errcode), query


# Registration tokens


def test_a_token_is_asked_for_and_counted(token_server):
    answer = token_server.client.post(REGISTER, {"username": "alice", "password": PASSWORD})
    assert answer.json["flows"] == [{"stages": [TOKEN]}]
    assert register(token_server, {"type": TOKEN, "token": "good"}, username="alice").status == 200
    kept = in_reactor(token_server.parts.storage.registration_tokens.get("good"))
    assert kept.completed == 1


NOBODY_REGISTERS_WITHOUT_ONE = [
    (DUMMY, 401, "M_UNAUTHORIZED"),
    ({"type": TOKEN, "token": "bad"}, 401, "M_UNAUTHORIZED"),
    ({"type": TOKEN, "token": "x" * 70_000}, 401, "M_UNAUTHORIZED"),
    ({"type": TOKEN}, 400, "M_MISSING_PARAM"),
    ({"type": TOKEN, "token": ["good"]}, 400, "M_BAD_JSON"),
]


def test_nobody_registers_without_one(token_server):
    for auth, status, errcode in NOBODY_REGISTERS_WITHOUT_ONE:
        answer = register(token_server, auth, username="alice")
        assert (answer.status, answer.errcode) == (status, errcode), auth
        assert in_reactor(token_server.parts.accounts.find("alice")) is None


def test_a_token_that_has_ended(token_server):
    assert register(token_server, {"type": TOKEN, "token": "late"}, username="alice").status == 200
    token_server.parts.clock.ahead += 61
    answer = register(token_server, {"type": TOKEN, "token": "late"}, username="bob")
    assert (answer.status, answer.errcode) == (401, "M_UNAUTHORIZED")


def test_of_many_at_once_one_uses_a_token_for_one(token_server):
    def once(number: int) -> Response:
        auth = {"type": TOKEN, "token": "once"}
        return token_server.client.post(
            REGISTER, {"username": f"user{number}", "password": PASSWORD, "auth": auth}
        )

    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(once, range(5)))
    assert [answer.status for answer in answers].count(200) == 1
    assert {answer.errcode for answer in answers if answer.status != 200} <= {"M_FORBIDDEN", "M_UNAUTHORIZED"}
    users = [in_reactor(token_server.parts.accounts.find(f"user{number}")) for number in range(5)]
    assert len([user for user in users if user is not None]) == 1


VALIDITIES = [
    ("?token=good", True),
    ("?token=once", True),
    ("?token=bad", False),
    ("?token=", False),
]


def test_validity(token_server):
    for query, valid in VALIDITIES:
        answer = token_server.client.get(f"{VALIDITY}{query}")
        assert (answer.status, answer.json) == (200, {"valid": valid})


def test_validity_changes(token_server):
    register(token_server, {"type": TOKEN, "token": "once"}, username="alice")
    assert token_server.client.get(f"{VALIDITY}?token=once").json == {"valid": False}
    token_server.parts.clock.ahead += 61
    assert token_server.client.get(f"{VALIDITY}?token=late").json == {"valid": False}
    assert token_server.client.get(VALIDITY).errcode == "M_MISSING_PARAM"
