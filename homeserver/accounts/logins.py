# SPDX-License-Identifier: Apache-2.0
"""Logins: a device and an access token for it, made and ended together.

spec: client-server-api, "Relationship between access tokens and devices".
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import attrs

from federation.errors import Forbidden, InvalidParam
from federation.http.endpoint import Requester
from storage.devices import DeletedAccessTokens, DeletedDevice, Devices, NewAccessToken, NewDevice
from storage.persist import Unit
from storage.runtime.clock import Clock, milliseconds
from storage.write_queue import WriteQueue

_PREFIX = "trl_"
_TOKEN_BYTES = 32
_DEVICE_ID_LENGTH = 10
_LONGEST_DEVICE_ID = 255
_LONGEST_DISPLAY_NAME = 255


def token_digest(access_token: str) -> bytes:
    """The SHA-256 under which a token is kept. Tokens are random, so that no salt is needed."""
    return sha256(access_token.encode()).digest()


@attrs.frozen
class DeviceChoice:
    """What a client says of the device that it logs in with; None leaves it to the server."""

    device_id: str | None = None
    display_name: str | None = None

    def __attrs_post_init__(self) -> None:
        """Raises `InvalidParam` for a device id that cannot be kept."""
        if self.device_id is not None and len(self.device_id.encode()) > _LONGEST_DEVICE_ID:
            raise InvalidParam(f"device_id is longer than {_LONGEST_DEVICE_ID} bytes")


@attrs.frozen
class Login:
    """A login; `expires_in_ms` None: the token does not expire."""

    device_id: str
    access_token: str = attrs.field(repr=False)
    expires_in_ms: int | None


class Logins:
    """Makes and ends logins. Access tokens last for `access_token_lifetime` milliseconds, None: for ever."""

    def __init__(
        self,
        *,
        devices: Devices,
        write_queue: WriteQueue,
        clock: Clock,
        access_token_lifetime: int | None = None,
    ) -> None:
        self._devices = devices
        self._write_queue = write_queue
        self._clock = clock
        self._lifetime = access_token_lifetime

    def prepare(self, account: int, choice: DeviceChoice) -> tuple[Login, tuple[Any, ...]]:
        """A login and the records that make it true once they are written.

        The tokens that the device had before go with them.
        """
        now = milliseconds(self._clock)
        expires_ts = None if self._lifetime is None else now + self._lifetime
        device_id = choice.device_id or _new_device_id()
        name = choice.display_name[:_LONGEST_DISPLAY_NAME] if choice.display_name else None
        token = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        records = (
            DeletedAccessTokens(account, device_id),
            NewDevice(account, device_id, created_ts=now, display_name=name),
            NewAccessToken(token_digest(token), account, device_id, created_ts=now, expires_ts=expires_ts),
        )
        return Login(device_id, token, self._lifetime), records

    async def log_in(self, account: int, choice: DeviceChoice, records: Sequence[Any] = ()) -> Login:
        """Log a user in; `records` are written along. Whoever calls has made sure that it is them."""
        login, made = self.prepare(account, choice)
        await self._write_queue.submit(Unit(records=(*records, *made)))
        return login

    async def log_out(self, requester: Requester) -> None:
        """End the login that a request was made with; the device goes, too.

        Raises `Forbidden` where the token belongs to no device, which is an application service's.
        """
        if requester.device is None or requester.device_id is None:
            raise Forbidden("An access token without a device cannot be logged out")
        record = DeletedDevice(requester.user, requester.device, requester.device_id)
        await self._write_queue.submit(Unit(records=(record,)))

    async def log_out_device(self, account: int, device_id: str) -> None:
        """End the login of a user's device, if there is one."""
        device = await self._devices.get(account, device_id)
        if device is not None:
            record = DeletedDevice(account, device.device, device_id)
            await self._write_queue.submit(Unit(records=(record,)))

    async def log_out_all(self, account: int, *, keep: int | None = None) -> None:
        """End all logins of a user, but for that of the device with the number `keep`."""
        records = await self.ends_of_all(account, keep=keep)
        if records:
            await self._write_queue.submit(Unit(records=records))

    async def ends_of_all(self, account: int, *, keep: int | None = None) -> tuple[DeletedDevice, ...]:
        """The records that do what `log_out_all` does."""
        devices = await self._devices.of_account(account)
        return tuple(
            DeletedDevice(account, device.device, device.device_id)
            for device in devices
            if device.device != keep
        )


def _new_device_id() -> str:
    return "".join(secrets.choice(string.ascii_uppercase) for _ in range(_DEVICE_ID_LENGTH))
