# SPDX-License-Identifier: Apache-2.0
"""The profiles of local users as member events take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from storage.profiles import Profiles
from storage.strings import Strings


@attrs.frozen
class StoredProfiles:
    """Reads what is kept of a user's profile, whoever asks."""

    profiles: Profiles
    strings: Strings

    async def of(self, user_id: str) -> Mapping[str, Any]:
        """The profile of a local user by id; empty where there is none."""
        account = (await self.strings.find([user_id])).get(user_id)
        return {} if account is None else await self.profiles.get(account)
