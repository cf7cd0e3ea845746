# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

import pytest

from tests.support.accounts import PASSWORD, SHARED_SECRET, AccountServer, account_server
from tests.support.databases import one_set
from tests.support.http import Response
from tests.support.reactor import in_reactor

pytestmark = one_set  # one set of components serves accounts here; the contract has two

PATH = "/_synapse/admin/v1/register"
WHOAMI = "/_matrix/client/v3/account/whoami"


@pytest.fixture
def server(database) -> Iterator[AccountServer]:
    """A server where only the shared secret registers."""
    with account_server(database, enabled=False) as made:
        yield made


def mac_of(nonce: str, username: str, password: str, kind: str, *more: str) -> str:
    """The MAC as Synapse documents it."""
    made = hmac.new(SHARED_SECRET.encode(), digestmod=hashlib.sha1)
    made.update("\0".join([nonce, username, password, kind, *more]).encode())
    return made.hexdigest()


def nonce_of(server: AccountServer) -> str:
    return str(server.client.get(PATH).json["nonce"])


def register(server: AccountServer, nonce: str | None = None, **more) -> Response:
    """Register Alice with a MAC that is right, unless `more` changes what it is of."""
    nonce = nonce_of(server) if nonce is None else nonce
    mac = mac_of(nonce, "alice", PASSWORD, "notadmin")
    body = {"nonce": nonce, "username": "alice", "password": PASSWORD, "mac": mac, **more}
    return server.client.post(PATH, body)


def test_a_user(server):
    answer = register(server, admin=False, displayname="Alice", device_id="PHONE")
    assert answer.status == 200
    token = answer.json["access_token"]
    assert answer.json == {
        "user_id": "@alice:test.example",
        "home_server": "test.example",
        "access_token": token,
        "device_id": "PHONE",
    }
    assert server.with_token(token).get(WHOAMI).json["user_id"] == "@alice:test.example"
    alice = in_reactor(server.parts.accounts.find("alice"))
    assert not alice.account.is_admin
    assert in_reactor(server.parts.storage.profiles.get(alice.number)) == {"displayname": "Alice"}
    login = {"type": "m.login.password", "user": "alice", "password": PASSWORD}
    assert server.client.post("/_matrix/client/v3/login", login).status == 200


def test_an_administrator_and_a_bot(server):
    nonce = nonce_of(server)
    mac = mac_of(nonce, "alice", PASSWORD, "admin", "bot")
    answer = register(server, nonce, admin=True, user_type="bot", mac=mac.upper(), inhibit_login=True)
    assert answer.json == {"user_id": "@alice:test.example", "home_server": "test.example"}
    alice = in_reactor(server.parts.accounts.find("alice"))
    assert (alice.account.is_admin, alice.account.user_type) == (True, "bot")


def test_names_and_passwords_in_any_script(server):
    nonce = nonce_of(server)
    mac = mac_of(nonce, "alice", "pässwörd 🐵", "notadmin")
    assert register(server, nonce, password="pässwörd 🐵", mac=mac).status == 200


WHAT_IS_REFUSED = [
    ({"mac": "0" * 40}, 403, "M_FORBIDDEN"),
    ({"mac": "ü"}, 403, "M_FORBIDDEN"),
    ({"mac": None}, 400, "M_BAD_JSON"),
    ({"admin": True}, 403, "M_FORBIDDEN"),
    ({"user_type": "support"}, 403, "M_FORBIDDEN"),
    ({"username": "bob"}, 403, "M_FORBIDDEN"),
    ({"password": "another"}, 403, "M_FORBIDDEN"),
    ({"user_type": "emperor"}, 400, "M_BAD_JSON"),
    ({"admin": "yes"}, 400, "M_BAD_JSON"),
    ({"nonce": "nonsense"}, 400, "M_UNKNOWN"),
    ({"nonce": ""}, 400, "M_UNKNOWN"),
    ({"nonce": "0" * 80}, 400, "M_UNKNOWN"),
    ({"nonce": "ü" * 80}, 400, "M_UNKNOWN"),
    ({"username": "a\0notadmin"}, 400, "M_BAD_JSON"),
    ({"device_id": "x" * 256}, 400, "M_INVALID_PARAM"),
]


def test_what_is_refused(server):
    for more, status, errcode in WHAT_IS_REFUSED:
        answer = register(server, **more)
        assert (answer.status, answer.errcode) == (status, errcode), more
        assert in_reactor(server.parts.accounts.find("alice")) is None
        assert in_reactor(server.parts.accounts.find("bob")) is None


def test_members_that_are_missing(server):
    assert server.client.post(PATH, {}).errcode == "M_MISSING_PARAM"


def test_names_that_are_refused(server):
    in_reactor(server.parts.create("alice"))
    assert register(server).errcode == "M_USER_IN_USE"
    nonce = nonce_of(server)
    for username, errcode in {"a b": "M_INVALID_USERNAME", "irc_bob": "M_EXCLUSIVE"}.items():
        nonce = nonce_of(server)
        mac = mac_of(nonce, username, PASSWORD, "notadmin")
        assert register(server, nonce, username=username, mac=mac).errcode == errcode


def test_a_nonce_is_good_once(server):
    nonce = nonce_of(server)
    assert register(server, nonce, mac="0" * 40).status == 403
    assert register(server, nonce).status == 200
    answer = register(server, nonce)
    assert (answer.status, answer.errcode) == (400, "M_UNKNOWN")


def test_a_nonce_is_good_for_a_minute(server):
    nonce = nonce_of(server)
    server.parts.clock.ahead += 62
    assert register(server, nonce).errcode == "M_UNKNOWN"
    nonce = nonce_of(server)
    server.parts.clock.ahead += 58
    assert register(server, nonce).status == 200


def test_a_nonce_of_another_process_is_good(server, database):
    with account_server(database, enabled=False) as other:
        assert register(server, nonce_of(other)).status == 200
    with account_server(database, shared_secret="another secret") as stranger:
        nonce = nonce_of(stranger)
    assert register(server, nonce).errcode == "M_UNKNOWN"


def test_without_a_secret_nobody_registers(database):
    with account_server(database, shared_secret=None) as server:
        for answer in (server.client.get(PATH), register(server, "0" * 80)):
            assert (answer.status, answer.errcode) == (400, "M_UNKNOWN")
