# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import attrs
import bcrypt
import pytest
from twisted.internet.defer import Deferred, gatherResults

from federation.errors import Forbidden, LimitExceeded, UnknownToken, UserDeactivated, UserLocked
from homeserver.accounts.logins import DeviceChoice
from homeserver.accounts.password_check import PasswordCheck
from storage.accounts import ChangedAccount, ChangedPassword
from tests.support.accounts import PASSWORD, AccountParts

PHONE = DeviceChoice("PHONE")


@attrs.frozen
class Counted:
    """Limits that allow so many of each."""

    allowed: int
    counted: dict[tuple[str, str], int] = attrs.field(factory=dict)

    def count(self, name: str, who: str) -> None:
        self.check(name, who)
        self.counted[name, who] = self.counted.get((name, who), 0) + 1

    def check(self, name: str, who: str) -> None:
        if self.counted.get((name, who), 0) >= self.allowed:
            raise LimitExceeded(retry_after_ms=1)


def limited(parts: AccountParts, limits: Counted) -> PasswordCheck:
    return PasswordCheck(
        accounts=parts.accounts, passwords=parts.passwords, logins=parts.logins, limits=limits
    )


async def test_the_right_password_logs_in(parts):
    alice = await parts.create("alice")
    logged_in = await parts.password_check.log_in("Alice", PASSWORD, PHONE)
    assert logged_in.user_id == alice.user_id
    requester = await parts.access_tokens.authenticate(logged_in.login.access_token)
    assert (requester.user, requester.device_id) == (alice.number, "PHONE")
    assert await parts.password_check.check(alice.user_id, PASSWORD) == alice


async def test_wrong_ones_do_not(parts):
    await parts.create("alice")
    await parts.create("nopassword", None)
    for user, password in (
        ("alice", "wrong"),
        ("alice", ""),
        ("nobody", PASSWORD),
        ("@alice:other.example", PASSWORD),
        ("nopassword", ""),
        ("nopassword", PASSWORD),
    ):
        with pytest.raises(Forbidden):
            await parts.password_check.log_in(user, password, PHONE)


async def test_accounts_that_cannot_be_logged_in_to(parts):
    locked, gone = await parts.create("locked"), await parts.create("gone")
    await parts.accounts.change(ChangedAccount(locked.number, is_locked=True))
    await parts.accounts.deactivate(gone.number)
    with pytest.raises(UserLocked):
        await parts.password_check.log_in("locked", PASSWORD, PHONE)
    with pytest.raises(Forbidden):
        await parts.password_check.log_in("locked", "wrong", PHONE)
    with pytest.raises(UserDeactivated):
        await parts.password_check.log_in("gone", PASSWORD, PHONE)
    for user in (locked, gone):
        assert await parts.storage.devices.of_account(user.number) == []


async def test_an_old_hash_is_replaced_at_login(parts):
    alice = await parts.create("alice")
    old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    await parts.storing.write(ChangedPassword(alice.number, old))
    await parts.password_check.check("alice", PASSWORD)
    assert (await parts.accounts.find("alice")).account.password_hash == old
    await parts.password_check.log_in("alice", PASSWORD, PHONE)
    replaced = (await parts.accounts.find("alice")).account.password_hash
    assert replaced.startswith("$argon2id$")
    await parts.password_check.log_in("alice", PASSWORD, PHONE)
    assert (await parts.accounts.find("alice")).account.password_hash == replaced


async def test_two_logins_at_once_replace_an_old_hash_and_both_hold(parts):
    alice = await parts.create("alice")
    old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    await parts.storing.write(ChangedPassword(alice.number, old))
    logins = [
        Deferred.fromCoroutine(parts.password_check.log_in("alice", PASSWORD, DeviceChoice(name)))
        for name in ("PHONE", "LAPTOP")
    ]
    for logged_in in await gatherResults(logins):
        requester = await parts.access_tokens.authenticate(logged_in.login.access_token)
        assert requester.user == alice.number


@pytest.mark.parametrize("attempt", range(4))
async def test_a_login_beside_a_new_password_leaves_no_login_with_the_old_one(parts, attempt):
    alice = await parts.create("alice")
    login = Deferred.fromCoroutine(parts.password_check.log_in("alice", PASSWORD, PHONE))
    login.addErrback(lambda failure: failure.value)
    changes = [
        lambda: parts.accounts.set_password(alice.number, "another one", log_out=True),
        lambda: parts.accounts.deactivate(alice.number),
    ]
    if attempt < 2:
        # Just as the login is on its way to the database.
        while not await parts.storage.devices.of_account(alice.number) and not login.called:
            pass
    changed = Deferred.fromCoroutine(changes[attempt % 2]())
    outcome, _ = await gatherResults([login, changed])
    if not isinstance(outcome, Forbidden):
        with pytest.raises(UnknownToken):
            await parts.access_tokens.authenticate(outcome.login.access_token)
    assert await parts.storage.devices.of_account(alice.number) == []


async def test_failed_attempts_are_limited_for_each_account(parts):
    await parts.create("alice")
    await parts.create("bob")
    limits = Counted(allowed=2)
    check = limited(parts, limits)
    for user in ("alice", "ALICE"):
        with pytest.raises(Forbidden):
            await check.check(user, "wrong")
    for password in ("wrong", PASSWORD):
        with pytest.raises(LimitExceeded):
            await check.check("alice", password)
    assert (await check.check("bob", PASSWORD)).user_id == "@bob:test.example"
    for user in ("nobody", "Nobody"):
        with pytest.raises(Forbidden):
            await check.check(user, "wrong")
    with pytest.raises(LimitExceeded):
        await check.check("nobody", "wrong")


async def test_logins_are_limited_for_each_account(parts):
    await parts.create("alice")
    check = limited(parts, Counted(allowed=2))
    for _ in range(2):
        await check.log_in("alice", PASSWORD, PHONE)
    with pytest.raises(LimitExceeded):
        await check.log_in("alice", PASSWORD, PHONE)
