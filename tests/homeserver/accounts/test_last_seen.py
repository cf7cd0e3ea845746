# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import attrs
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from federation.http.endpoint import Requester
from homeserver.accounts.last_seen import LastSeen


@attrs.frozen
class Seen:
    """As much of a request as is looked at."""

    client_address: str
    user_agent: str | None = None

    def header(self, name: str) -> str | None:
        return self.user_agent if name == "User-Agent" else None


async def test_the_first_use_in_an_interval_is_written_at_its_end(parts):
    alice = await parts.create("alice")
    token = await parts.log_in(alice, "PHONE")
    requester = await parts.access_tokens.authenticate(token)
    before = parts.clock.seconds() * 1000
    parts.last_seen.seen(requester, Seen("192.0.2.1", "Element \udcff"))
    parts.last_seen.seen(requester, Seen("192.0.2.2"))
    parts.last_seen.seen(Requester("@bot:test.example", 5), Seen("192.0.2.3"))
    assert (await parts.storage.devices.get(alice.number, "PHONE")).last_seen_ts is None
    await parts.last_seen.flush()
    device = await parts.storage.devices.get(alice.number, "PHONE")
    assert before - 1 <= device.last_seen_ts <= parts.clock.seconds() * 1000
    assert (device.last_seen_ip, device.last_seen_user_agent) == ("192.0.2.1", "Element ?")
    parts.last_seen.seen(requester, Seen("192.0.2.2"))
    await parts.last_seen.flush()
    assert (await parts.storage.devices.get(alice.number, "PHONE")).last_seen_ip == "192.0.2.2"


async def test_many_devices_are_written_in_portions(parts):
    alice = await parts.create("alice")
    await parts.log_in(alice, "PHONE")
    device = (await parts.storage.devices.get(alice.number, "PHONE")).device
    for number in range(device, device + 1200):
        parts.last_seen.seen(Requester(alice.user_id, alice.number, "D", number), Seen("192.0.2.1"))
    await parts.last_seen.flush()
    assert (await parts.storage.devices.get(alice.number, "PHONE")).last_seen_ip == "192.0.2.1"


async def test_it_writes_again_and_again(parts):
    alice = await parts.create("alice")
    requester = await parts.access_tokens.authenticate(await parts.log_in(alice, "PHONE"))
    last_seen = LastSeen(write_queue=parts.storing.queue, clock=reactor, interval=0.01)
    running = Deferred.fromCoroutine(last_seen.run())
    for address in ("192.0.2.1", "192.0.2.2"):
        last_seen.seen(requester, Seen(address))
        for _ in range(500):
            device = await parts.storage.devices.get(alice.number, "PHONE")
            if device.last_seen_ip == address:
                break
            await deferLater(reactor, 0.01)
        assert device.last_seen_ip == address
    running.addErrback(lambda failure: failure.trap(CancelledError))
    running.cancel()
    await running


async def test_a_database_that_is_away_does_no_harm(parts, caplog):
    alice = await parts.create("alice")
    requester = await parts.access_tokens.authenticate(await parts.log_in(alice))
    parts.last_seen.seen(requester, Seen("192.0.2.1"))
    await parts.storage.database.close()
    await parts.last_seen.flush()
    assert "last seen is lost" in caplog.text
