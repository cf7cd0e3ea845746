# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from storage.devices import (
    DeletedAccessTokens,
    DeletedDevice,
    DeviceSeen,
    NewAccessToken,
    NewDevice,
    TokenOwner,
)
from tests.support.storing import Storing, storing_over

ALICE, BOB = 1, 2


def token(number: int) -> bytes:
    return bytes([number]) * 32


def login(number: int, account: int = ALICE, device_id: str = "PHONE"):
    """The records of a login on a device that may exist."""
    return [
        DeletedAccessTokens(account, device_id),
        NewDevice(account, device_id, created_ts=number),
        NewAccessToken(token(number), account, device_id, created_ts=number),
    ]


async def owner(storing: Storing, number: int) -> TokenOwner | None:
    devices = storing.storage.devices
    return await storing.storage.database.read(
        "owner", lambda txn: devices.token_owner_txn(txn, token(number))
    )


async def test_a_token_leads_to_its_device(database):
    storing = storing_over(database)
    await storing.write(
        NewDevice(ALICE, "PHÖNE", created_ts=7, display_name="Jungle \U0001f435"),
        NewAccessToken(token(1), ALICE, "PHÖNE", created_ts=8, expires_ts=9),
    )
    device = await storing.storage.devices.get(ALICE, "PHÖNE")
    assert (device.display_name, device.created_ts, device.last_seen_ts) == ("Jungle \U0001f435", 7, None)
    assert await owner(storing, 1) == TokenOwner(ALICE, device.device, "PHÖNE", 9)
    assert await owner(storing, 2) is None
    assert await storing.storage.devices.get(BOB, "PHÖNE") is None


async def test_a_login_on_a_known_device_keeps_it_and_replaces_its_token(database):
    storing = storing_over(database)
    await storing.write(*login(1), *login(2, BOB), *login(3, device_id="LAPTOP"))
    before = await storing.storage.devices.get(ALICE, "PHONE")
    await storing.write(*login(4))
    assert await storing.storage.devices.get(ALICE, "PHONE") == before
    assert await owner(storing, 1) is None
    assert await owner(storing, 4) == TokenOwner(ALICE, before.device, "PHONE", None)
    assert (await owner(storing, 2)).account == BOB
    assert (await owner(storing, 3)).device_id == "LAPTOP"


async def test_of_two_logins_at_once_on_one_device_one_token_is_left(database):
    storing = storing_over(database)
    assert await storing.write_together(login(1), login(2)) == [None, None]
    assert len(await storing.storage.devices.of_account(ALICE)) == 1
    assert await owner(storing, 1) is None
    assert await owner(storing, 2) is not None


async def test_a_logout_takes_device_and_token(database):
    storing = storing_over(database)
    await storing.write(*login(1), *login(2, BOB), *login(3, device_id="LAPTOP"))
    phone = await storing.storage.devices.get(ALICE, "PHONE")
    await storing.write(DeletedDevice(ALICE, phone.device, "PHONE"))
    assert [device.device_id for device in await storing.storage.devices.of_account(ALICE)] == ["LAPTOP"]
    assert await owner(storing, 1) is None
    assert await owner(storing, 2) is not None
    assert await owner(storing, 3) is not None


async def test_a_device_that_comes_back_is_another_device(database):
    storing = storing_over(database)
    await storing.write(*login(1))
    first = await storing.storage.devices.get(ALICE, "PHONE")
    await storing.write(DeletedDevice(ALICE, first.device, "PHONE"))
    await storing.write(*login(2))
    second = await storing.storage.devices.get(ALICE, "PHONE")
    assert second.device != first.device


async def test_a_login_beside_the_logout_of_the_same_device_holds(database):
    storing = storing_over(database)
    await storing.write(*login(1))
    device = await storing.storage.devices.get(ALICE, "PHONE")
    outcomes = await storing.write_together(login(2), [DeletedDevice(ALICE, device.device, "PHONE")])
    assert outcomes == [None, None]
    again = await storing.storage.devices.get(ALICE, "PHONE")
    assert again.device != device.device
    assert await owner(storing, 1) is None
    assert await owner(storing, 2) == TokenOwner(ALICE, again.device, "PHONE", None)


async def test_last_seen_is_kept(database):
    storing = storing_over(database)
    await storing.write(*login(1), *login(2, device_id="LAPTOP"))
    device = (await storing.storage.devices.get(ALICE, "PHONE")).device
    await storing.write(
        DeviceSeen(device, 5, "::1", "a"), DeviceSeen(device, 6, "127.0.0.1", "b"), DeviceSeen(999, 1, "", "")
    )
    seen = await storing.storage.devices.get(ALICE, "PHONE")
    assert (seen.last_seen_ts, seen.last_seen_ip, seen.last_seen_user_agent) == (6, "127.0.0.1", "b")
    assert (await storing.storage.devices.get(ALICE, "LAPTOP")).last_seen_ts is None
