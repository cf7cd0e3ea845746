# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from twisted.internet import reactor

from federation.errors import UnknownToken
from homeserver.accounts.logins import DeviceChoice
from homeserver.cli.open_accounts import open_accounts
from homeserver.config.config import read_config
from tests.support.accounts import PASSWORD, SERVER, account_parts


def test_commands_do_not_disturb_a_server_that_runs(database_home, tmp_path, run):
    config = read_config(
        {
            "server_name": SERVER,
            "database": database_home.configuration(),
            "password_config": {"pepper": "salt"},
        },
        base=tmp_path,
    )
    with account_parts(run(database_home.open()), pepper="salt") as server:
        alice = run(server.create("alice"))
        token = run(server.log_in(alice))
        run(server.access_tokens.authenticate(token))

        async def beside() -> None:
            async with open_accounts(config, reactor) as accounts:
                await accounts.create("bob", PASSWORD, admin=False)
                await accounts.set_password("alice", "another one", log_out=True)

        run(beside())
        carol = run(server.create("carol"))
        bob = run(server.accounts.find("bob"))
        users = (alice, bob, carol)
        assert len({user.number for user in users}) == 3
        with account_parts(run(database_home.open()), pepper="salt") as restarted:
            values = run(restarted.storage.strings.values(user.number for user in users))
            assert values == {user.number: user.user_id for user in users}
            for name in ("bob", "carol"):
                run(restarted.password_check.log_in(name, PASSWORD, DeviceChoice()))
        server.clock.ahead += 301
        with pytest.raises(UnknownToken):
            run(server.access_tokens.authenticate(token))
