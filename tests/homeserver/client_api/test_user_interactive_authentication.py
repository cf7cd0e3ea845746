# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from storage.registration_tokens import RegistrationToken
from tests.support.accounts import PASSWORD, AccountServer, account_server
from tests.support.databases import one_set
from tests.support.http import Response
from tests.support.reactor import in_reactor

pytestmark = one_set  # one set of components serves accounts here; the contract has two

REGISTER = "/_matrix/client/v3/register"
TOKEN = "m.login.registration_token"
BODY = {"username": "alice", "password": PASSWORD}


@pytest.fixture
def server(database) -> Iterator[AccountServer]:
    """A server where one needs the token `good`."""
    with account_server(database, requires_token=True) as made:
        in_reactor(made.parts.storing.write(RegistrationToken("good", created_ts=0, uses_allowed=1)))
        yield made


def begin(server: AccountServer) -> str:
    return str(server.client.post(REGISTER, BODY).json["session"])


def page(stage: str, session: str) -> str:
    return f"/_matrix/client/v3/auth/{stage}/fallback/web?session={session}"


def submit(server: AccountServer, session: str, form: bytes, stage: str = TOKEN) -> Response:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return server.client.post(page(stage, session), body=form, headers=headers)


def test_a_client_registers_with_the_page_in_place_of_the_stage(server):
    session = begin(server)
    answer = server.client.get(page(TOKEN, session))
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b'<form method="post">' in answer.content
    assert b'name="token"' in answer.content
    assert b"onAuthDone" not in answer.content
    again = server.client.post(REGISTER, {**BODY, "auth": {"session": session}})
    assert (again.status, "completed" in again.json) == (401, False)

    done = submit(server, session, b"token=good&other=1")
    assert done.status == 200
    assert b"window.onAuthDone();" in done.content
    assert b'window.opener.postMessage("authDone", "*");' in done.content
    registered = server.client.post(REGISTER, {**BODY, "auth": {"session": session}})
    assert registered.json["user_id"] == "@alice:test.example"
    assert in_reactor(server.parts.storage.registration_tokens.get("good")).completed == 1


def test_the_page_runs_its_own_script_alone(server):
    answer = submit(server, begin(server), b"token=good")
    policy = answer.headers["content-security-policy"]
    (nonce,) = re.findall(r"script-src 'nonce-([\w-]+)'", policy)
    assert f'<script nonce="{nonce}">'.encode() in answer.content
    assert "default-src 'none'" in policy
    assert answer.headers["x-frame-options"] == "DENY"


def test_a_wrong_proof_is_asked_for_again(server):
    session = begin(server)
    answer = submit(server, session, b"token=bad")
    assert answer.status == 403
    assert b"The registration token is not valid" in answer.content
    assert b'name="token"' in answer.content
    assert submit(server, session, b"token=good").status == 200
    assert submit(server, session, b"token=good").status == 200


def test_a_session_that_is_none(server):
    answer = submit(server, "%3Cscript%3E", b"token=good")
    assert answer.status == 403
    assert b"no such session" in answer.content
    assert b"<script" not in answer.content


def test_requests_that_are_none(server):
    session = begin(server)
    for stage in ("m.login.dummy", "m.login.password", "org.example.unknown"):
        assert server.client.get(page(stage, session)).errcode == "M_UNRECOGNIZED"
        assert submit(server, session, b"", stage).errcode == "M_UNRECOGNIZED"
    assert server.client.get(f"/_matrix/client/v3/auth/{TOKEN}/fallback/web").errcode == "M_MISSING_PARAM"
    assert submit(server, session, b"token=%ff").errcode == "M_INVALID_PARAM"
    assert submit(server, session, b"other=1").errcode == "M_MISSING_PARAM"
    assert submit(server, session, b"token=" + b"x" * 5000).errcode == "M_TOO_LARGE"


def test_a_token_that_was_used_meanwhile(server):
    session = begin(server)
    submit(server, session, b"token=good")
    other = {"username": "bob", "password": PASSWORD, "auth": {"type": TOKEN, "token": "good"}}
    assert server.client.post(REGISTER, other).status == 200
    answer = server.client.post(REGISTER, {**BODY, "auth": {"session": session}})
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    assert in_reactor(server.parts.accounts.find("alice")) is None


def test_a_stage_that_asks_for_nothing(database):
    with account_server(database) as server:
        session = begin(server)
        assert b'name="token"' not in server.client.get(page("m.login.dummy", session)).content
        assert submit(server, session, b"", "m.login.dummy").status == 200
        assert server.client.post(REGISTER, {**BODY, "auth": {"session": session}}).status == 200
