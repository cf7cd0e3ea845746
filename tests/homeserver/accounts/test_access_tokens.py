# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import pytest
from twisted.internet.defer import Deferred

from federation.errors import UnknownToken
from homeserver.accounts.access_tokens import AccessTokens
from homeserver.accounts.logins import DeviceChoice, Logins
from storage.accounts import ChangedAccount
from storage.engine.database import Database, Transaction
from storage.persist import Unit
from storage.write_queue import Committed
from tests.support.accounts import AccountParts

T = TypeVar("T")


@attrs.frozen(eq=False)
class SlowReads:
    """Reads of a database whose results arrive when `arrive` is called."""

    database: Database
    waiting: list[Deferred[None]] = attrs.field(factory=list)

    async def read(self, name: str, work: Callable[[Transaction], T]) -> T:
        result = await self.database.read(name, work)
        arrived: Deferred[None] = Deferred()
        self.waiting.append(arrived)
        await arrived
        return result

    def arrive(self) -> None:
        while self.waiting:
            self.waiting.pop().callback(None)


def tokens_over(parts: AccountParts, database: Any, **more: Any) -> AccessTokens:
    storage = parts.storage
    return AccessTokens(
        database=database,
        accounts=storage.accounts,
        devices=storage.devices,
        strings=storage.strings,
        clock=parts.clock,
        **more,
    )


async def test_an_unknown_token(parts):
    for token in ("", "nonsense", "trl_" + "x" * 43):
        with pytest.raises(UnknownToken) as error:
            await parts.access_tokens.authenticate(token)
        assert "soft_logout" not in error.value.members


async def test_a_token_that_was_used_lately_needs_no_database(parts):
    alice = await parts.create("alice")
    token = await parts.log_in(alice)
    requester = await parts.access_tokens.authenticate(token)
    await parts.storage.database.close()
    assert await parts.access_tokens.authenticate(token) is requester


async def test_what_an_account_may_do_comes_along(parts):
    root = await parts.create("root", is_admin=True)
    token = await parts.log_in(root)
    assert (await parts.access_tokens.authenticate(token)).is_admin
    await parts.accounts.change(ChangedAccount(root.number, is_admin=False, is_locked=True))
    requester = await parts.access_tokens.authenticate(token)
    assert (requester.is_admin, requester.is_locked, requester.is_suspended) == (False, True, False)
    await parts.accounts.change(ChangedAccount(root.number, is_locked=False, is_suspended=True))
    requester = await parts.access_tokens.authenticate(token)
    assert (requester.is_locked, requester.is_suspended) == (False, True)


async def test_a_deactivated_account_has_no_tokens(parts):
    alice = await parts.create("alice")
    token = await parts.log_in(alice)
    await parts.access_tokens.authenticate(token)
    await parts.accounts.deactivate(alice.number)
    late = await parts.log_in(alice)
    for one in (token, late):
        with pytest.raises(UnknownToken):
            await parts.access_tokens.authenticate(one)


async def test_an_expired_token_is_a_soft_logout(parts):
    alice = await parts.create("alice")
    logins = Logins(
        devices=parts.storage.devices,
        write_queue=parts.storing.queue,
        clock=parts.clock,
        access_token_lifetime=10_000,
    )
    login = await logins.log_in(alice.number, DeviceChoice("PHONE"))
    assert login.expires_in_ms == 10_000
    await parts.access_tokens.authenticate(login.access_token)
    parts.clock.ahead += 9
    await parts.access_tokens.authenticate(login.access_token)
    parts.clock.ahead += 1.5
    with pytest.raises(UnknownToken) as error:
        await parts.access_tokens.authenticate(login.access_token)
    assert error.value.members == {"soft_logout": True}
    again = await logins.log_in(alice.number, DeviceChoice("PHONE"))
    assert (await parts.access_tokens.authenticate(again.access_token)).device_id == "PHONE"


async def test_what_another_program_changes_is_seen_after_a_while(parts):
    alice = await parts.create("alice")
    token = await parts.log_in(alice)
    elsewhere = tokens_over(parts, parts.storage.database)
    await elsewhere.authenticate(token)
    await parts.logins.log_out_all(alice.number)
    await elsewhere.authenticate(token)
    parts.clock.ahead += 301
    with pytest.raises(UnknownToken):
        await elsewhere.authenticate(token)


async def test_what_other_processes_committed_is_heard(parts):
    alice = await parts.create("alice")
    token = await parts.log_in(alice)
    elsewhere = tokens_over(parts, parts.storage.database)
    await elsewhere.authenticate(token)
    ends = await parts.logins.ends_of_all(alice.number)
    await parts.storing.write(*ends)
    elsewhere.on_commit([Committed(Unit(records=ends), 0)])
    with pytest.raises(UnknownToken):
        await elsewhere.authenticate(token)


async def test_a_logout_while_the_token_is_being_read_is_not_forgotten(parts):
    alice, bob = await parts.create("alice"), await parts.create("bob")
    slow = SlowReads(parts.storage.database)
    tokens = tokens_over(parts, slow)
    token, of_bob = await parts.log_in(alice), await parts.log_in(bob)
    early = [Deferred.fromCoroutine(tokens.authenticate(one)) for one in (token, of_bob)]
    while len(slow.waiting) < 2:
        await parts.storage.database.read("pass time", lambda txn: txn.rows("SELECT 1"))
    ends = await parts.logins.ends_of_all(alice.number)
    await parts.storing.write(*ends)
    tokens.on_commit([Committed(Unit(records=ends), 0)])
    slow.arrive()
    assert (await early[0]).user_id == alice.user_id
    requester = await early[1]

    again = Deferred.fromCoroutine(tokens.authenticate(token))
    while not slow.waiting:
        await parts.storage.database.read("pass time", lambda txn: txn.rows("SELECT 1"))
    slow.arrive()
    with pytest.raises(UnknownToken):
        await again
    assert await tokens.authenticate(of_bob) is requester


async def test_it_holds_so_many_tokens_and_no_more(parts):
    alice = await parts.create("alice")
    made = [await parts.log_in(alice) for _ in range(4)]
    tokens = tokens_over(parts, parts.storage.database, limit=2)
    first = [await tokens.authenticate(token) for token in made]
    second = [await tokens.authenticate(token) for token in (*made[2:], *made[:2])]
    assert second == [*first[2:], *first[:2]]
    assert [new is old for new, old in zip(second, [*first[2:], *first[:2]], strict=True)] == [
        True,
        True,
        False,
        False,
    ]
