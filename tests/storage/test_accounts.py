# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import attrs

from storage.accounts import Account, ChangedAccount, ChangedPassword, RehashedPassword
from storage.engine.errors import DataError
from tests.support.storing import storing_over

ALICE = Account(account=1, created_ts=1000, password_hash="old", user_type="bot", is_admin=True)


async def test_an_account_is_kept_as_it_was_made(database):
    storing = storing_over(database)
    everything = attrs.evolve(
        ALICE, account=2, is_guest=True, is_locked=True, is_suspended=True, is_deactivated=True
    )
    await storing.write(ALICE, everything, Account(account=3, created_ts=5))
    assert await storing.storage.accounts.get(1) == ALICE
    assert await storing.storage.accounts.get(2) == everything
    assert await storing.storage.accounts.get(3) == Account(account=3, created_ts=5)
    assert await storing.storage.accounts.get(4) is None


async def test_a_second_account_of_a_user_is_refused(database):
    storing = storing_over(database)
    outcomes = await storing.write_together(
        [ALICE], [attrs.evolve(ALICE, created_ts=2000)], [Account(account=2, created_ts=1)]
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), DataError, type(None)]
    assert await storing.storage.accounts.get(1) == ALICE
    assert await storing.storage.accounts.get(2) is not None


async def test_changes_of_one_batch_add_up(database):
    storing = storing_over(database)
    await storing.write(ALICE, Account(account=2, created_ts=1))
    await storing.write_together(
        [ChangedAccount(1, is_admin=False)],
        [ChangedAccount(1, is_locked=True, is_suspended=True)],
        [ChangedAccount(1, is_suspended=False, is_deactivated=True)],
    )
    expected = attrs.evolve(ALICE, is_admin=False, is_locked=True, is_deactivated=True)
    assert await storing.storage.accounts.get(1) == expected
    assert await storing.storage.accounts.get(2) == Account(account=2, created_ts=1)


async def test_a_password_is_changed_and_taken_away(database):
    storing = storing_over(database)
    await storing.write(ALICE)
    await storing.write_together([ChangedPassword(1, "first")], [ChangedPassword(1, "second")])
    assert (await storing.storage.accounts.get(1)).password_hash == "second"
    await storing.write(ChangedPassword(1, None))
    assert (await storing.storage.accounts.get(1)).password_hash is None


async def test_a_rehash_replaces_only_the_hash_that_it_was_made_of(database):
    storing = storing_over(database)
    await storing.write(ALICE)
    await storing.write(RehashedPassword(1, "newer", replaces="another"))
    assert (await storing.storage.accounts.get(1)).password_hash == "old"
    await storing.write(RehashedPassword(1, "newer", replaces="old"))
    assert (await storing.storage.accounts.get(1)).password_hash == "newer"


async def test_a_rehash_beside_a_new_password_does_not_bring_the_old_one_back(database):
    storing = storing_over(database)
    await storing.write(ALICE)
    await storing.write_together(
        [ChangedPassword(1, "changed")], [RehashedPassword(1, "rehashed", replaces="old")]
    )
    assert (await storing.storage.accounts.get(1)).password_hash == "changed"


def test_hashes_stay_out_of_what_is_printed():
    texts = [repr(ALICE), repr(ChangedPassword(1, "old")), repr(RehashedPassword(1, "old", "old"))]
    assert not [text for text in texts if "old" in text]
