# SPDX-License-Identifier: Apache-2.0
"""Whether a local user wants invites. spec: client-server-api, "Invite permission"."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from federation.errors import InviteBlocked
from storage.account_data import GLOBAL, AccountDataStore
from storage.strings import Strings

_TYPE = "m.invite_permission_config"


@attrs.frozen
class InvitePermission:
    """Asks the account data of those who are to be invited."""

    account_data: AccountDataStore
    strings: Strings

    async def check(self, user_id: str) -> None:
        """Raise `InviteBlocked` where the local user wants no invites."""
        account = (await self.strings.find((user_id,))).get(user_id)
        if account is not None and await self.blocks(account):
            raise InviteBlocked(f"{user_id} does not accept invites")

    async def blocks(self, account: int) -> bool:
        """Whether the local user wants no invites, nor to see those that are there."""
        data = await self.account_data.get(account, GLOBAL, _TYPE)
        config: Any = None if data is None else msgspec.json.decode(data.content)
        return isinstance(config, dict) and config.get("default_action") == "block"
