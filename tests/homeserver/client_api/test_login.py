# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

import pytest

from federation.errors import LimitExceeded
from storage.accounts import ChangedAccount
from tests.support.accounts import PASSWORD, AccountServer, account_server
from tests.support.databases import one_set
from tests.support.reactor import in_reactor

pytestmark = one_set  # one set of components serves accounts here; the contract has two

LOGIN = "/_matrix/client/v3/login"
WHOAMI = "/_matrix/client/v3/account/whoami"
ALICE = {"type": "m.id.user", "user": "alice"}


@pytest.fixture
def server(database) -> Iterator[AccountServer]:
    """A server with a user."""
    with account_server(database) as made:
        in_reactor(made.parts.create("alice"))
        yield made


def log_in(server: AccountServer, **more):
    body = {"type": "m.login.password", "identifier": ALICE, "password": PASSWORD, **more}
    return server.client.post(LOGIN, body)


def test_flows(server):
    assert server.client.get(LOGIN).json == {"flows": [{"type": "m.login.password"}]}
    assert server.client.get("/_matrix/client/r0/login").json["flows"]


def test_a_login(server):
    answer = log_in(server, device_id="PHONE", initial_device_display_name="My phone")
    assert answer.status == 200
    token = answer.json["access_token"]
    assert answer.json == {
        "user_id": "@alice:test.example",
        "access_token": token,
        "device_id": "PHONE",
        "home_server": "test.example",
    }
    assert server.with_token(token).get(WHOAMI).json == {
        "user_id": "@alice:test.example",
        "device_id": "PHONE",
        "is_guest": False,
    }


WHO_CAN_BE_NAMED_HOW = [
    {"identifier": {"type": "m.id.user", "user": "@alice:test.example"}},
    {"identifier": {"type": "m.id.user", "user": "Alice"}},
    {"identifier": None, "user": "alice"},
    {"identifier": None, "user": "@alice:test.example"},
]


def test_who_can_be_named_how(server):
    for who in WHO_CAN_BE_NAMED_HOW:
        assert log_in(server, **who).json["user_id"] == "@alice:test.example"


WHAT_IS_REFUSED = [
    ({"password": "wrong"}, 403, "M_FORBIDDEN"),
    ({"password": ""}, 403, "M_FORBIDDEN"),
    ({"password": "x" * 70_000}, 403, "M_FORBIDDEN"),
    ({"password": None}, 400, "M_MISSING_PARAM"),
    ({"password": 5}, 400, "M_BAD_JSON"),
    ({"identifier": {"type": "m.id.user", "user": "nobody"}}, 403, "M_FORBIDDEN"),
    ({"identifier": {"type": "m.id.user", "user": "@alice:other.example"}}, 403, "M_FORBIDDEN"),
    ({"identifier": {"type": "m.id.user", "user": "x" * 70_000}}, 403, "M_FORBIDDEN"),
    ({"identifier": {"type": "m.id.user", "user": ""}}, 403, "M_FORBIDDEN"),
    ({"identifier": {"type": "m.id.user"}}, 400, "M_MISSING_PARAM"),
    ({"identifier": {"user": "alice"}}, 400, "M_MISSING_PARAM"),
    ({"identifier": "alice"}, 400, "M_BAD_JSON"),
    ({"identifier": None}, 400, "M_MISSING_PARAM"),
    ({"identifier": {"type": "org.example.id"}}, 400, "M_UNKNOWN"),
    (
        {"identifier": {"type": "m.id.thirdparty", "medium": "email", "address": "a@b.example"}},
        403,
        "M_FORBIDDEN",
    ),
    ({"identifier": {"type": "m.id.thirdparty", "medium": "email"}}, 400, "M_MISSING_PARAM"),
    ({"identifier": {"type": "m.id.phone", "country": "GB", "phone": "07700900001"}}, 403, "M_FORBIDDEN"),
    ({"identifier": {"type": "m.id.phone", "phone": "07700900001"}}, 400, "M_MISSING_PARAM"),
    ({"identifier": None, "medium": "email", "address": "a@b.example"}, 403, "M_FORBIDDEN"),
    ({"type": "m.login.token", "token": "abc"}, 400, "M_UNKNOWN"),
    ({"type": "m.login.unknown"}, 400, "M_UNKNOWN"),
    ({"type": None}, 400, "M_BAD_JSON"),
    ({"device_id": "x" * 256}, 400, "M_INVALID_PARAM"),
    ({"device_id": "a\0b"}, 400, "M_BAD_JSON"),
    ({"device_id": 5}, 400, "M_BAD_JSON"),
]


def test_what_is_refused(server):
    for body, status, errcode in WHAT_IS_REFUSED:
        answer = log_in(server, **body)
        assert (answer.status, answer.errcode) == (status, errcode), body


def test_the_type_is_needed(server):
    assert server.client.post(LOGIN, {"password": PASSWORD}).errcode == "M_MISSING_PARAM"


def test_a_deactivated_and_a_locked_account(server):
    parts = server.parts
    gone, locked = in_reactor(parts.create("gone")), in_reactor(parts.create("locked"))
    in_reactor(parts.accounts.deactivate(gone.number))
    in_reactor(parts.accounts.change(ChangedAccount(locked.number, is_locked=True)))
    answer = log_in(server, identifier={"type": "m.id.user", "user": "gone"})
    assert (answer.status, answer.errcode) == (403, "M_USER_DEACTIVATED")
    answer = log_in(server, identifier={"type": "m.id.user", "user": "locked"})
    assert (answer.status, answer.errcode) == (401, "M_USER_LOCKED")


def test_a_device_that_comes_back_ends_its_old_token(server):
    first = log_in(server, device_id="PHONE", initial_device_display_name="One").json["access_token"]
    other = log_in(server).json["access_token"]
    second = log_in(server, device_id="PHONE", initial_device_display_name="Two").json["access_token"]
    assert server.with_token(first).get(WHOAMI).errcode == "M_UNKNOWN_TOKEN"
    assert server.with_token(second).get(WHOAMI).json["device_id"] == "PHONE"
    assert server.with_token(other).get(WHOAMI).status == 200
    alice = in_reactor(server.parts.accounts.find("alice"))
    device = in_reactor(server.parts.storage.devices.get(alice.number, "PHONE"))
    assert device.display_name == "One"


def test_logout(server):
    phone, laptop = (log_in(server).json["access_token"] for _ in range(2))
    answer = server.with_token(phone).post("/_matrix/client/v3/logout")
    assert (answer.status, answer.json) == (200, {})
    assert server.with_token(phone).post("/_matrix/client/v3/logout").errcode == "M_UNKNOWN_TOKEN"
    assert server.with_token(laptop).get(WHOAMI).status == 200
    assert server.client.post("/_matrix/client/v3/logout").errcode == "M_MISSING_TOKEN"


def test_logout_everywhere(server):
    tokens = [log_in(server).json["access_token"] for _ in range(3)]
    answer = server.with_token(tokens[0]).post("/_matrix/client/v3/logout/all", {})
    assert (answer.status, answer.json) == (200, {})
    for token in tokens:
        assert server.with_token(token).get(WHOAMI).errcode == "M_UNKNOWN_TOKEN"
    assert log_in(server).status == 200


def test_a_locked_account_can_only_log_out(server):
    token = log_in(server).json["access_token"]
    alice = in_reactor(server.parts.accounts.find("alice"))
    in_reactor(server.parts.accounts.change(ChangedAccount(alice.number, is_locked=True)))
    answer = server.with_token(token).get(WHOAMI)
    assert (answer.status, answer.errcode, answer.json["soft_logout"]) == (401, "M_USER_LOCKED", True)
    assert server.with_token(token).post("/_matrix/client/v3/logout").status == 200


def test_requests_are_noted_as_last_seen(server):
    token = log_in(server, device_id="PHONE").json["access_token"]
    server.with_token(token).get(WHOAMI, headers={"User-Agent": "A client"})
    in_reactor(server.parts.last_seen.flush())
    alice = in_reactor(server.parts.accounts.find("alice"))
    device = in_reactor(server.parts.storage.devices.get(alice.number, "PHONE"))
    assert (device.last_seen_ip, device.last_seen_user_agent) == ("127.0.0.1", "A client")


def test_settings_show_in_the_answer(database):
    base_url = "https://matrix.test.example/"
    with account_server(database, base_url=base_url, access_token_lifetime=60_000) as server:
        in_reactor(server.parts.create("alice"))
        answer = log_in(server).json
        assert answer["expires_in_ms"] == 60_000
        assert answer["well_known"] == {"m.homeserver": {"base_url": base_url}}
        parts = server.parts
        assert server.with_token(answer["access_token"]).get(WHOAMI).status == 200
        parts.clock.ahead += 61
        expired = server.with_token(answer["access_token"]).get(WHOAMI)
        assert (expired.status, expired.errcode) == (401, "M_UNKNOWN_TOKEN")
        assert expired.json["soft_logout"] is True


def test_passwords_may_be_turned_off(database):
    with account_server(database, passwords_enabled=False) as server:
        in_reactor(server.parts.create("alice"))
        assert server.client.get(LOGIN).json == {"flows": []}
        answer = log_in(server)
        assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")


class Full:
    """Limits that are reached."""

    def count(self, name: str, who: str) -> None:
        raise LimitExceeded(retry_after_ms=1500)

    def check(self, name: str, who: str) -> None:
        raise LimitExceeded(retry_after_ms=1500)


def test_limits(database):
    with account_server(database, limits=Full()) as server:
        answer = log_in(server)
        assert (answer.status, answer.errcode) == (429, "M_LIMIT_EXCEEDED")
        assert answer.headers["retry-after"] == "2"
