# SPDX-License-Identifier: Apache-2.0
"""Whether an invite from another server may reach the local user whom it is for.

spec: client-server-api, "Invite permission".
"""

from __future__ import annotations

import attrs

from federation.errors import Forbidden, InviteBlocked
from homeserver.rooms.invite_permission import InvitePermission
from storage.accounts import Accounts
from storage.event import Event
from storage.strings import Strings


@attrs.frozen
class InviteVetting:
    """Vets invites. Those of ignored users are kept and not shown, so that they may be shown later."""

    accounts: Accounts
    strings: Strings
    permission: InvitePermission

    async def vet(self, invite: Event) -> None:
        """Whether the user is there and wants invites. Raises `Forbidden`, `InviteBlocked`."""
        user_id = invite.state_key or ""
        number = (await self.strings.find((user_id,))).get(user_id)
        account = None if number is None else await self.accounts.get(number)
        if account is None or account.is_deactivated:
            raise Forbidden(f"{user_id[:300]!r} cannot be invited: there is no such user")
        if await self.permission.blocks(account.account):
            raise InviteBlocked(f"{user_id} does not accept invites")
