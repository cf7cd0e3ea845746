# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import attrs
import pytest
from twisted.internet.defer import Deferred, gatherResults

from federation.errors import (
    Exclusive,
    InvalidParam,
    InvalidUsername,
    UnknownToken,
    UserInUse,
    WeakPassword,
)
from homeserver.accounts.accounts import NewAccount
from homeserver.accounts.logins import DeviceChoice
from storage.engine.errors import DataError
from storage.profiles import ProfileField
from storage.registration_tokens import RegistrationToken, UsedRegistrationToken
from tests.support.accounts import PASSWORD, SERVER


async def test_an_account_is_made_with_its_login(parts):
    before = parts.clock.seconds() * 1000 - 1
    created = await parts.accounts.create(
        NewAccount("@alice:test.example", PASSWORD, user_type="bot", login=DeviceChoice("PHONE"))
    )
    requester = await parts.access_tokens.authenticate(created.login.access_token)
    assert (requester.user_id, requester.user, requester.device_id) == (
        created.user_id,
        created.account,
        "PHONE",
    )
    found = await parts.accounts.find("alice")
    assert found.account.user_type == "bot"
    assert not found.account.is_admin
    assert before <= found.account.created_ts <= parts.clock.seconds() * 1000


async def test_who_is_found(parts):
    alice = await parts.create("alice")
    for user in ("alice", "ALICE", "@alice:test.example", "@Alice:test.example"):
        assert await parts.accounts.find(user) == alice
    for user in ("bob", "@alice:other.example", "@alice", "", "@:test.example", "x" * 1000):
        assert await parts.accounts.find(user) is None


async def test_a_user_who_is_only_known_from_events_has_no_account(parts):
    await parts.storage.strings.intern((f"@alice:{SERVER}",))
    assert await parts.accounts.find("alice") is None
    assert await parts.accounts.check_username("alice") == f"@alice:{SERVER}"
    await parts.create("alice")
    assert await parts.accounts.find("alice") is not None


async def test_old_ids_with_capitals_are_found_as_they_are_written(parts):
    await parts.accounts.create(NewAccount(f"@Old Name:{SERVER}", PASSWORD))
    assert (await parts.accounts.find("Old Name")).user_id == f"@Old Name:{SERVER}"
    assert await parts.accounts.find("old name") is None


async def test_names_that_nobody_may_take(parts):
    await parts.create("alice")
    for username, error in {
        "alice": UserInUse,
        "ALICE": UserInUse,
        "a!": InvalidUsername,
        "irc_bob": Exclusive,
    }.items():
        with pytest.raises(error):
            await parts.accounts.check_username(username)
    assert await parts.accounts.check_username("Bob") == f"@bob:{SERVER}"
    free = await parts.accounts.free_user_id()
    assert await parts.accounts.find(free) is None


async def test_of_two_at_once_one_gets_the_name(parts):
    new = NewAccount(f"@alice:{SERVER}", PASSWORD, login=DeviceChoice("PHONE"))
    answers = [Deferred.fromCoroutine(parts.accounts.create(new)) for _ in range(3)]
    for answer in answers:
        answer.addErrback(lambda failure: failure.value)
    outcomes = await gatherResults(answers)
    made = [outcome for outcome in outcomes if not isinstance(outcome, UserInUse)]
    assert len(made) == 1
    assert (await parts.access_tokens.authenticate(made[0].login.access_token)).device_id == "PHONE"
    assert len(await parts.storage.devices.of_account(made[0].account)) == 1


async def test_records_are_written_with_the_account_or_not_at_all(parts):
    new = NewAccount(f"@alice:{SERVER}", PASSWORD)
    await parts.storing.write(RegistrationToken("never", created_ts=0, uses_allowed=0))
    with pytest.raises(DataError):
        await parts.accounts.create(new, records=lambda _account: (UsedRegistrationToken("never"),))
    assert await parts.accounts.find("alice") is None
    created = await parts.accounts.create(
        new, records=lambda account: (ProfileField(account, "displayname", "Alice"),)
    )
    assert await parts.storage.profiles.get(created.account) == {"displayname": "Alice"}


async def test_bad_passwords_make_no_account(parts):
    for password, error in {"": WeakPassword, "x" * 513: InvalidParam}.items():
        with pytest.raises(error):
            await parts.create("alice", password)
    assert await parts.accounts.find("alice") is None


async def test_a_new_password_replaces_the_old_one(parts):
    alice = await parts.create("alice")
    token = await parts.log_in(alice)
    await parts.accounts.set_password(alice.number, "another one", log_out=False)
    assert (await parts.access_tokens.authenticate(token)).user == alice.number
    account = (await parts.accounts.find("alice")).account
    assert await parts.passwords.verify("another one", account.password_hash)
    with pytest.raises(WeakPassword):
        await parts.accounts.set_password(alice.number, "", log_out=False)


async def test_a_new_password_may_end_the_logins_but_for_one(parts):
    alice = await parts.create("alice")
    phone, laptop = await parts.log_in(alice, "PHONE"), await parts.log_in(alice, "LAPTOP")
    device = (await parts.access_tokens.authenticate(phone)).device
    await parts.accounts.set_password(alice.number, "another one", log_out=True, keep_device=device)
    assert (await parts.access_tokens.authenticate(phone)).device == device
    with pytest.raises(UnknownToken):
        await parts.access_tokens.authenticate(laptop)


async def test_a_deactivated_account_keeps_its_name_and_nothing_else(parts):
    alice = await parts.create("alice", is_admin=True)
    await parts.log_in(alice)
    await parts.accounts.deactivate(alice.number)
    account = (await parts.accounts.find("alice")).account
    assert account == attrs.evolve(alice.account, is_deactivated=True, is_admin=False, password_hash=None)
    assert await parts.storage.devices.of_account(alice.number) == []
    with pytest.raises(UserInUse):
        await parts.accounts.check_username("alice")


async def test_a_new_account_is_called_by_its_localpart(parts):
    created = await parts.accounts.create(NewAccount(f"@erik:{SERVER}", PASSWORD))
    assert await parts.storage.profiles.get(created.account) == {"displayname": "erik"}
