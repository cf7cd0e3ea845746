# SPDX-License-Identifier: Apache-2.0
"""Whose an access token is. spec: client-server-api, "Using access tokens"."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from federation.errors import UnknownToken
from federation.http.endpoint import Requester
from homeserver.accounts.logins import token_digest
from storage.accounts import Account, Accounts, ChangedAccount
from storage.devices import DeletedAccessTokens, DeletedDevice, Devices, TokenOwner
from storage.engine.database import Database, Transaction
from storage.runtime.clock import Clock
from storage.strings import Strings
from storage.write_queue import Committed

# After this, what is in memory is read anew: somebody may have changed the database with another program.
_TRUSTED_SECONDS = 300.0

_ENDS = frozenset({DeletedDevice, DeletedAccessTokens, ChangedAccount})


@attrs.frozen
class _Known:
    requester: Requester
    until: float
    """Seconds of the clock until which it needs no second look."""


@attrs.frozen
class _Found:
    owner: TokenOwner
    account: Account
    user_id: str


class AccessTokens:
    """Finds who makes a request; tokens that were used lately are known without the database.

    `on_commit` belongs to the listeners of the write queue: a logout ends what is in memory. It holds at
    most `limit` tokens; what came first goes first.
    """

    def __init__(
        self,
        *,
        database: Database,
        accounts: Accounts,
        devices: Devices,
        strings: Strings,
        clock: Clock,
        limit: int = 50_000,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._devices = devices
        self._strings = strings
        self._clock = clock
        self._limit = limit
        self._known: dict[bytes, _Known] = {}
        self._of_account: dict[int, set[bytes]] = {}
        self._reading = 0
        self._ended_while_reading: set[int] = set()

    async def authenticate(self, access_token: str) -> Requester:
        """The owner of the token.

        Raises `UnknownToken`; with `soft_logout` where the token has expired and its device is still there.
        """
        digest = token_digest(access_token)
        known = self._known.get(digest)
        if known is not None and self._clock.seconds() < known.until:
            return known.requester
        self._forget(digest)
        return await self._read(digest)

    def on_commit(self, committed: Sequence[Committed]) -> None:
        """Take note of what was written: what ends a login, or changes what an account may do."""
        for unit in committed:
            for record in unit.unit.records:
                if type(record) in _ENDS:
                    self._end(record.account)

    async def _read(self, digest: bytes) -> Requester:
        self._reading += 1
        try:
            found = await self._database.read("access token", lambda txn: self._find_txn(txn, digest))
            if found is None or found.account.is_deactivated:
                raise UnknownToken
            requester = _requester(found)
            until = self._until(found.owner.expires_ts)
            if requester.user not in self._ended_while_reading:
                self._learn(digest, _Known(requester, until))
            return requester
        finally:
            self._reading -= 1
            if not self._reading:
                self._ended_while_reading.clear()

    def _find_txn(self, txn: Transaction, digest: bytes) -> _Found | None:
        owner = self._devices.token_owner_txn(txn, digest)
        if owner is None:
            return None
        account = self._accounts.get_txn(txn, owner.account)
        user_id = self._strings.values_txn(txn, (owner.account,)).get(owner.account)
        if account is None or user_id is None:
            return None
        return _Found(owner, account, user_id)

    def _until(self, expires_ts: int | None) -> float:
        """Until when what was read now holds. Raises `UnknownToken` for an expired token."""
        now = self._clock.seconds()
        if expires_ts is None:
            return now + _TRUSTED_SECONDS
        if expires_ts <= now * 1000:
            raise UnknownToken("The access token has expired", soft_logout=True)
        return min(now + _TRUSTED_SECONDS, expires_ts / 1000)

    def _learn(self, digest: bytes, known: _Known) -> None:
        if len(self._known) >= self._limit:
            self._forget(next(iter(self._known)))
        self._known[digest] = known
        self._of_account.setdefault(known.requester.user, set()).add(digest)

    def _forget(self, digest: bytes) -> None:
        known = self._known.pop(digest, None)
        if known is not None:
            siblings = self._of_account[known.requester.user]
            siblings.discard(digest)
            if not siblings:
                del self._of_account[known.requester.user]

    def _end(self, account: int) -> None:
        for digest in self._of_account.pop(account, ()):
            del self._known[digest]
        if self._reading:
            self._ended_while_reading.add(account)


def _requester(found: _Found) -> Requester:
    return Requester(
        user_id=found.user_id,
        user=found.owner.account,
        device_id=found.owner.device_id,
        device=found.owner.device,
        is_guest=found.account.is_guest,
        is_admin=found.account.is_admin,
        is_locked=found.account.is_locked,
        is_suspended=found.account.is_suspended,
    )
