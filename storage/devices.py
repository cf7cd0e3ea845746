# SPDX-License-Identifier: Apache-2.0
"""Devices of local users, and the access tokens that belong to them.

spec: client-server-api, "Relationship between access tokens and devices".
"""

from __future__ import annotations

import attrs

from storage.engine.database import Database, Transaction
from storage.engine.statement import BYTES, INTEGER, Batch, Row
from storage.writing import Writing, each, last_of_each

_INSERT = Batch(
    "INSERT INTO devices (account, device_id, display_name, created_ts)"
    " SELECT account, device_id, display_name, created_ts FROM v WHERE true"
    " ON CONFLICT (account, device_id) DO NOTHING",
    columns={"account": INTEGER, "device_id": BYTES, "display_name": BYTES, "created_ts": INTEGER},
)
_DELETE = Batch(
    "DELETE FROM devices WHERE device IN (SELECT device FROM v)",
    columns={"device": INTEGER},
)
_SEEN = Batch(
    "UPDATE devices SET last_seen_ts = v.last_seen_ts, last_seen_ip = v.last_seen_ip,"
    " last_seen_user_agent = v.last_seen_user_agent FROM v WHERE devices.device = v.device",
    columns={
        "device": INTEGER,
        "last_seen_ts": INTEGER,
        "last_seen_ip": BYTES,
        "last_seen_user_agent": BYTES,
    },
)
_INSERT_TOKEN = Batch(
    "INSERT INTO access_tokens (token, account, device, created_ts, expires_ts)"
    " SELECT v.token, v.account, d.device, v.created_ts, v.expires_ts"
    " FROM v JOIN devices d ON d.account = v.account AND d.device_id = v.device_id",
    columns={
        "token": BYTES,
        "account": INTEGER,
        "device_id": BYTES,
        "created_ts": INTEGER,
        "expires_ts": INTEGER,
    },
)
_DELETE_TOKENS = Batch(
    "DELETE FROM access_tokens WHERE device IN"
    " (SELECT d.device FROM v JOIN devices d ON d.account = v.account AND d.device_id = v.device_id)",
    columns={"account": INTEGER, "device_id": BYTES},
)
_DELETE_TOKENS_OF_DEVICE = Batch(
    "DELETE FROM access_tokens WHERE device IN (SELECT device FROM v)",
    columns={"device": INTEGER},
)
_COLUMNS = (
    "device, account, device_id, display_name, created_ts, last_seen_ts, last_seen_ip, last_seen_user_agent"
)
_GET = f"SELECT {_COLUMNS} FROM devices WHERE account = ? AND device_id = ?"
_OF_ACCOUNT = f"SELECT {_COLUMNS} FROM devices WHERE account = ? ORDER BY device"
_OWNER = (
    "SELECT t.account, t.device, d.device_id, t.expires_ts"
    " FROM access_tokens t LEFT JOIN devices d ON d.device = t.device WHERE t.token = ?"
)


@attrs.frozen
class NewDevice:
    """A device to be made, unless the user has one with this id, which then stays as it is."""

    account: int
    device_id: str
    created_ts: int
    display_name: str | None = None


@attrs.frozen
class NewAccessToken:
    """A token of the user's device with this id; `token` is its SHA-256, timestamps are in milliseconds.

    Of several for one device that are written at once only the last counts: it logged the others out.
    """

    token: bytes = attrs.field(repr=False)
    account: int
    device_id: str
    created_ts: int
    expires_ts: int | None = None


@attrs.frozen
class DeletedAccessTokens:
    """All tokens of the user's device with this id, to be deleted; the device stays."""

    account: int
    device_id: str


@attrs.frozen
class DeletedDevice:
    """A device to be deleted with its tokens. What else is kept of a device goes by this record, too."""

    account: int
    device: int
    device_id: str


@attrs.frozen
class DeviceSeen:
    """When, from where and with what a device was last used; `last_seen_ts` in milliseconds."""

    device: int
    last_seen_ts: int
    last_seen_ip: str
    last_seen_user_agent: str


@attrs.frozen
class Device:
    """A device as it is kept; `device` is its number."""

    device: int
    account: int
    device_id: str
    display_name: str | None
    created_ts: int
    last_seen_ts: int | None
    last_seen_ip: str | None
    last_seen_user_agent: str | None


@attrs.frozen
class TokenOwner:
    """Whose an access token is; `expires_ts` in milliseconds, None for never."""

    account: int
    device: int | None
    device_id: str | None
    expires_ts: int | None


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _text(packed: bytes | None) -> str | None:
    return None if packed is None else packed.decode()


# What goes is written first: a login beside a logout finds the device gone and makes it anew.
WRITINGS = (
    Writing(
        DeletedAccessTokens,
        _DELETE_TOKENS,
        each(lambda r: (r.account, r.device_id.encode())),
    ),
    Writing(DeletedDevice, _DELETE_TOKENS_OF_DEVICE, each(lambda r: (r.device,))),
    Writing(DeletedDevice, _DELETE, each(lambda r: (r.device,))),
    Writing(
        NewDevice,
        _INSERT,
        each(lambda r: (r.account, r.device_id.encode(), _bytes(r.display_name), r.created_ts)),
    ),
    Writing(
        NewAccessToken,
        _INSERT_TOKEN,
        last_of_each(
            lambda r: (r.account, r.device_id),
            lambda _i, r: (r.token, r.account, r.device_id.encode(), r.created_ts, r.expires_ts),
        ),
    ),
    Writing(
        DeviceSeen,
        _SEEN,
        last_of_each(
            lambda r: r.device,
            lambda _i, r: (
                r.device,
                r.last_seen_ts,
                r.last_seen_ip.encode(),
                r.last_seen_user_agent.encode(),
            ),
        ),
    ),
)


class Devices:
    """Reads devices and access tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, account: int, device_id: str) -> Device | None:
        """The user's device with this id, or None."""
        parameters = (account, device_id.encode())
        row = await self._database.read("device", lambda txn: txn.row(_GET, parameters))
        return None if row is None else _device(row)

    async def of_account(self, account: int) -> list[Device]:
        """All devices of a user, the oldest first."""
        rows = await self._database.read("devices", lambda txn: txn.rows(_OF_ACCOUNT, (account,)))
        return [_device(row) for row in rows]

    def token_owner_txn(self, txn: Transaction, token: bytes) -> TokenOwner | None:
        """Whose the access token with this SHA-256 is, or None; in a transaction of the caller's."""
        row = txn.row(_OWNER, (token,))
        if row is None:
            return None
        account, device, device_id, expires_ts = row
        return TokenOwner(account, device, _text(device_id), expires_ts)


def _device(row: Row) -> Device:
    device, account, device_id, display_name, created_ts, seen_ts, seen_ip, seen_user_agent = row
    return Device(
        device=device,
        account=account,
        device_id=device_id.decode(),
        display_name=_text(display_name),
        created_ts=created_ts,
        last_seen_ts=seen_ts,
        last_seen_ip=_text(seen_ip),
        last_seen_user_agent=_text(seen_user_agent),
    )
