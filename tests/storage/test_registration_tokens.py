# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from storage.accounts import Account
from storage.engine.errors import DataError
from storage.registration_tokens import DeletedRegistrationToken, RegistrationToken, UsedRegistrationToken
from tests.support.storing import storing_over

TWICE = RegistrationToken("twice", created_ts=1, uses_allowed=2, expires_ts=100)
OFTEN = RegistrationToken("often", created_ts=2)


async def test_tokens_are_kept_and_deleted(database):
    storing = storing_over(database)
    tokens = storing.storage.registration_tokens
    await storing.write(TWICE, OFTEN)
    assert await tokens.get("twice") == TWICE
    assert await tokens.get("thrice") is None
    assert await tokens.all() == [TWICE, OFTEN]
    await storing.write(DeletedRegistrationToken("twice"))
    assert await tokens.all() == [OFTEN]


async def test_a_use_too_many_is_refused_with_its_unit(database):
    storing = storing_over(database)
    await storing.write(TWICE)
    outcomes = await storing.write_together(
        *([UsedRegistrationToken("twice"), Account(account, created_ts=1)] for account in range(5))
    )
    refused = [isinstance(outcome, DataError) for outcome in outcomes]
    made = [await storing.storage.accounts.get(account) is not None for account in range(5)]
    assert refused == [False, False, True, True, True]
    assert made == [True, True, False, False, False]
    assert (await storing.storage.registration_tokens.get("twice")).completed == 2


async def test_uses_of_one_batch_are_all_counted(database):
    storing = storing_over(database)
    await storing.write(TWICE, OFTEN)
    await storing.write_together(
        [UsedRegistrationToken("often")],
        [UsedRegistrationToken("twice")],
        [UsedRegistrationToken("often")],
        [UsedRegistrationToken("unknown")],
    )
    tokens = await storing.storage.registration_tokens.all()
    assert {token.token: token.completed for token in tokens} == {"often": 2, "twice": 1}


@pytest.mark.parametrize(
    ("token", "now_ts", "valid"),
    [
        (RegistrationToken("t", 0), 10**15, True),
        (RegistrationToken("t", 0, expires_ts=100), 99, True),
        (RegistrationToken("t", 0, expires_ts=100), 100, False),
        (RegistrationToken("t", 0, uses_allowed=2, completed=1), 0, True),
        (RegistrationToken("t", 0, uses_allowed=2, completed=2), 0, False),
        (RegistrationToken("t", 0, uses_allowed=0), 0, False),
    ],
)
def test_validity(token, now_ts, valid):
    assert token.is_valid(now_ts) is valid
