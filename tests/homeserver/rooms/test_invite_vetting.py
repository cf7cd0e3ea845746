# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest

from federation.errors import Forbidden, InviteBlocked
from homeserver.rooms.invite_permission import InvitePermission
from homeserver.rooms.invite_vetting import InviteVetting
from storage.account_data import GLOBAL, AccountData
from storage.accounts import Account, ChangedAccount
from storage.engine.database import Database
from storage.persist import Unit
from tests.support.rooms import make_room
from tests.support.storing import Storing, storing_over

ALICE = "@alice:a.example"
CAROL = "@carol:b.example"


async def vet(storing: Storing, user_id: str = ALICE) -> None:
    """Vet an invite of the user."""
    storage = storing.storage
    permission = InvitePermission(storage.account_data, storage.strings)
    invite = make_room(creator=CAROL).invite(CAROL, user_id)
    await InviteVetting(storage.accounts, storage.strings, permission).vet(invite)


async def account(storing: Storing) -> int:
    """An account for Alice."""
    number = (await storing.storage.strings.intern([ALICE]))[ALICE]
    await storing.write(Account(number, created_ts=1))
    return number


async def configure(storing: Storing, number: int, config: Any) -> None:
    """Set the account data that says whether the user wants invites."""
    content = json.dumps(config).encode()
    record = AccountData(number, GLOBAL, "m.invite_permission_config", content, index=1)
    await storing.queue.submit(Unit([record], positions=1))


async def test_invites_of_users_pass_unless_they_want_none(database: Database) -> None:
    storing = storing_over(database)
    number = await account(storing)
    await vet(storing)
    await configure(storing, number, {"default_action": "block"})
    with pytest.raises(InviteBlocked):
        await vet(storing)
    for config in ({}, {"default_action": "allow"}, {"default_action": ["block"]}):
        await configure(storing, number, config)
        await vet(storing)


async def test_there_is_no_such_user(database: Database) -> None:
    storing = storing_over(database)
    with pytest.raises(Forbidden):
        await vet(storing)
    await storing.storage.strings.intern([ALICE])  # the name alone
    with pytest.raises(Forbidden):
        await vet(storing)


async def test_the_account_is_deactivated(database: Database) -> None:
    storing = storing_over(database)
    await storing.write(ChangedAccount(await account(storing), is_deactivated=True))
    with pytest.raises(Forbidden):
        await vet(storing)
