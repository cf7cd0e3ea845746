# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest

from federation.errors import Forbidden, InvalidParam, UnknownToken
from federation.http.endpoint import Requester
from homeserver.accounts.logins import DeviceChoice


async def test_a_login_makes_a_device_and_a_token_for_it(parts):
    alice = await parts.create("alice")
    login = await parts.logins.log_in(alice.number, DeviceChoice("PHONE", "My phone"))
    assert login.device_id == "PHONE"
    assert login.expires_in_ms is None
    device = await parts.storage.devices.get(alice.number, "PHONE")
    assert device.display_name == "My phone"
    requester = await parts.access_tokens.authenticate(login.access_token)
    assert requester == Requester("@alice:test.example", alice.number, "PHONE", device.device)


async def test_the_server_names_devices_that_have_no_name(parts):
    alice = await parts.create("alice")
    for choice in (DeviceChoice(), DeviceChoice("")):
        login = await parts.logins.log_in(alice.number, choice)
        assert re.fullmatch("[A-Z]{10}", login.device_id)
    assert len(await parts.storage.devices.of_account(alice.number)) == 2


async def test_tokens_differ_and_are_long(parts):
    alice = await parts.create("alice")
    tokens = {await parts.log_in(alice) for _ in range(5)}
    assert len(tokens) == 5
    assert all(re.fullmatch("trl_[A-Za-z0-9_-]{43}", token) for token in tokens)


async def test_no_token_is_in_the_database(parts):
    alice = await parts.create("alice")
    token = await parts.log_in(alice)
    rows = await parts.storage.database.read("all", lambda txn: txn.rows("SELECT * FROM access_tokens"))
    assert len(rows) == 1
    assert token.encode() not in rows[0]


async def test_a_long_display_name_is_cut(parts):
    alice = await parts.create("alice")
    login = await parts.logins.log_in(alice.number, DeviceChoice(display_name="ü" * 1000))
    device = await parts.storage.devices.get(alice.number, login.device_id)
    assert device.display_name == "ü" * 255


def test_a_long_device_id_is_refused():
    DeviceChoice("x" * 255)
    with pytest.raises(InvalidParam):
        DeviceChoice("ü" * 128)


async def test_a_login_on_a_device_ends_the_one_before(parts):
    alice = await parts.create("alice")
    first = await parts.log_in(alice, "PHONE")
    other = await parts.log_in(alice, "LAPTOP")
    before = await parts.access_tokens.authenticate(first)
    second = await parts.log_in(alice, "PHONE")
    with pytest.raises(UnknownToken) as error:
        await parts.access_tokens.authenticate(first)
    assert "soft_logout" not in error.value.members
    assert await parts.access_tokens.authenticate(second) == before
    assert (await parts.access_tokens.authenticate(other)).device_id == "LAPTOP"


async def test_a_logout_ends_one_device(parts):
    alice, bob = await parts.create("alice"), await parts.create("bob")
    phone, laptop = await parts.log_in(alice, "PHONE"), await parts.log_in(alice, "LAPTOP")
    of_bob = await parts.log_in(bob, "PHONE")
    await parts.logins.log_out(await parts.access_tokens.authenticate(phone))
    with pytest.raises(UnknownToken):
        await parts.access_tokens.authenticate(phone)
    assert await parts.storage.devices.get(alice.number, "PHONE") is None
    assert (await parts.access_tokens.authenticate(laptop)).device_id == "LAPTOP"
    assert (await parts.access_tokens.authenticate(of_bob)).user_id == bob.user_id


async def test_a_logout_everywhere_ends_all_devices_of_the_user(parts):
    alice, bob = await parts.create("alice"), await parts.create("bob")
    tokens = [await parts.log_in(alice) for _ in range(3)]
    of_bob = await parts.log_in(bob)
    await parts.logins.log_out_all(alice.number)
    await parts.logins.log_out_all(alice.number)
    for token in tokens:
        with pytest.raises(UnknownToken):
            await parts.access_tokens.authenticate(token)
    assert await parts.storage.devices.of_account(alice.number) == []
    assert (await parts.access_tokens.authenticate(of_bob)).user_id == bob.user_id


async def test_a_token_without_a_device_cannot_be_logged_out(parts):
    with pytest.raises(Forbidden):
        await parts.logins.log_out(Requester("@bot:test.example", 1, app_service="bridge"))
