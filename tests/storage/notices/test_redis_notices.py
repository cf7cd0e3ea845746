# SPDX-License-Identifier: Apache-2.0
"""Notices over a real Redis, which goes and comes and stands still; large entries, TLS, passwords."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from storage.commits.log import LogEntry
from storage.notices.notice_counts import NoticeCounts
from storage.notices.notices import Notice
from storage.notices.redis_line import RedisAddress, RedisTls
from storage.notices.redis_notices import RedisNotices
from tests.support.certificates import write_certificate
from tests.support.notices import Listener, at_work, listening, until
from tests.support.postgres_cluster import free_port
from tests.support.reactor import in_reactor
from tests.support.redis_server import RedisServer

CHANNEL = "trellis:example.org"
Make = Callable[..., RedisNotices]


def address_of(server: RedisServer, **changes: Any) -> RedisAddress:
    return RedisAddress(**{"host": "127.0.0.1", "port": server.port, **changes})


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes notices of one more process; all are stopped at the end."""
    made: list[RedisNotices] = []

    def one(
        address: RedisAddress, *, channel: str = CHANNEL, counts: NoticeCounts | None = None
    ) -> RedisNotices:
        made.append(RedisNotices(address=address, channel=channel, reactor=reactor, counts=counts))
        return made[-1]

    async def stop() -> None:
        for notices in made:
            await notices.stop()

    yield one
    in_reactor(stop())


def entry(base: int, *, records: bytes = b"r", events: bytes | None = b"e") -> LogEntry:
    return LogEntry(base=base, upto=base + 1, process="one", records=records, events=events)


async def test_all_of_a_channel_hear_what_one_tells(make: Make, redis_server: RedisServer) -> None:
    address, counts = address_of(redis_server), NoticeCounts()
    one, other = make(address, counts=counts), make(address)
    stranger = make(address, channel="trellis:example.com")
    here, there, elsewhere = await listening(one), await listening(other), await listening(stranger)
    assert one.carries_entries
    told = [
        Notice(upto=5),
        Notice(entry=entry(5)),
        Notice(upto=6, entry=entry(6, events=None), processes=True),
        Notice(processes=True),
    ]
    for notice in told:
        one.tell(notice)
    await until(lambda: len(here.heard) == len(there.heard) == 4)
    assert here.heard == there.heard == told
    other.tell(Notice(upto=7))
    await until(lambda: here.upto == 7)
    stranger.tell(Notice(upto=8))
    await until(lambda: elsewhere.upto == 8)
    assert here.upto == there.upto == 7
    assert elsewhere.heard == [Notice(upto=8)]
    assert (counts.told, counts.sent, counts.dropped, counts.heard) == (4, 4, 0, 6)


async def test_entries_of_any_bytes_and_a_megabyte_come_in_order(
    make: Make, redis_server: RedisServer
) -> None:
    one, other = make(address_of(redis_server)), make(address_of(redis_server))
    await listening(one)
    there = await listening(other)
    noise = random.Random(1)
    told = [
        Notice(entry=entry(base, records=noise.randbytes(size), events=noise.randbytes(2 * size)))
        for base, size in enumerate([0, 1, 100, 350_000, 70_000, 2, 1_000_000, 3] * 2)
    ]
    for notice in told[:8]:
        one.tell(notice)
    await until(lambda: len(there.heard) == 8)
    for notice in told[8:]:
        one.tell(notice)
    await until(lambda: len(there.heard) == 16)
    assert there.heard == told


async def test_a_thousand_notices_come_in_order(make: Make, redis_server: RedisServer) -> None:
    one, other = make(address_of(redis_server)), make(address_of(redis_server))
    here, there = await listening(one), await listening(other)
    for base in range(1000):
        one.tell(Notice(entry=entry(base)))
        other.tell(Notice(upto=base + 1))
    await until(lambda: len(here.heard) == len(there.heard) == 2000)
    for heard in (here.heard, there.heard):
        assert [notice.entry.base for notice in heard if notice.entry] == list(range(1000))
        assert [notice.upto for notice in heard if not notice.entry] == list(range(1, 1001))


async def test_a_server_that_is_away_is_awaited(
    make: Make, make_redis_server: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    server, counts = make_redis_server(), NoticeCounts()
    notices, listener = make(address_of(server), counts=counts), Listener()
    await notices.start(listener)
    notices.tell(Notice(upto=1))
    await until(lambda: caplog.records)
    server.start()
    await until(lambda: listener.connections == 1)
    notices.tell(Notice(upto=2))
    await until(lambda: listener.upto == 2)
    server.kill()
    await until(lambda: len(caplog.records) == 3)
    notices.tell(Notice(upto=3))
    server.start()
    await until(lambda: listener.connections == 2)
    notices.tell(Notice(upto=4))
    await until(lambda: listener.upto == 4)
    assert [notice.upto for notice in listener.heard] == [2, 4]
    assert (counts.told, counts.sent, counts.dropped, counts.connections) == (4, 2, 2, 2)
    texts = [record.getMessage() for record in caplog.records]
    assert ["again" in text.split(";")[0] for text in texts] == [False, True, False, True]


@pytest.mark.parametrize("kind", [b"pubsub", b"normal"])
async def test_when_one_connection_is_ended_both_are_replaced(
    make: Make, redis_server: RedisServer, kind: bytes
) -> None:
    notices = make(address_of(redis_server))
    here = await listening(notices)
    assert redis_server.command(b"CLIENT", b"KILL", b"TYPE", kind).startswith(b":1")
    await until(lambda: here.connections == 2)
    notices.tell(Notice(upto=1))
    await until(lambda: here.upto == 1)
    assert redis_server.command(b"CLIENT", b"LIST", b"TYPE", b"pubsub").count(b"id=") == 1


async def test_a_server_that_stands_still_costs_no_memory_and_is_left(
    make: Make, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    counts = NoticeCounts()
    notices = make(address_of(redis_server), counts=counts)
    here = await listening(notices)
    redis_server.pause()
    for base in range(30):
        notices.tell(Notice(entry=entry(base, records=bytes(10**6))))
    assert (counts.sent, counts.dropped) == (16, 14)
    await until(lambda: "a message was not published" in caplog.text)
    notices.tell(Notice(upto=50))
    assert counts.dropped == 15
    redis_server.go_on()
    await until(lambda: here.connections == 2)
    notices.tell(Notice(upto=100))
    await until(lambda: here.upto == 100)


async def test_an_attempt_to_connect_ends_in_its_time(
    make: Make, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    before = at_work()
    notices, listener = make(address_of(redis_server)), Listener()
    redis_server.pause()
    await notices.start(listener)
    await until(lambda: at_work()[1] > before[1])
    await until(lambda: "no answer in 5 seconds" in caplog.text)
    await notices.stop()
    redis_server.go_on()
    assert at_work() == before
    assert listener.connections == 0


async def test_stop_leaves_nothing(make: Make, redis_server: RedisServer) -> None:
    before = at_work()
    connected, listener = make(address_of(redis_server)), Listener()
    await connected.start(listener)
    await until(lambda: listener.connections)
    connected.tell(Notice(entry=entry(0, records=bytes(10**6))))  # on its way
    refused = make(RedisAddress(host="127.0.0.1", port=free_port()))
    just_started = make(address_of(redis_server))
    await refused.start(listener)
    await just_started.start(listener)
    for notices in (connected, refused, just_started):
        await notices.stop()
        notices.tell(Notice(upto=2))
        await notices.stop()
    await until(lambda: at_work() == before, 1)  # looking up a name has to come to its end
    assert listener.heard == []


async def test_messages_that_make_no_sense_are_harmless(
    make: Make, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    counts = NoticeCounts()
    notices = make(address_of(redis_server), counts=counts)
    here = await listening(notices)
    garbage = [
        b"",
        b"12",
        b"-1.5",
        b"text",
        b"\xff" * 30,
        b"\x01",
        b"\x01\x93",
        b"\x02\x93\x01",
        bytes(10**6),
    ]
    for message in garbage:
        assert redis_server.command(b"PUBLISH", CHANNEL.encode(), message) == b":1\r\n"
    notices.tell(Notice(upto=4))
    await until(lambda: here.upto == 4)
    assert here.heard == [Notice(upto=4)]
    assert counts.unreadable == len(garbage)
    assert len(caplog.records) == 1


async def test_a_password_and_a_unix_socket(
    make: Make, make_redis_server: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = make_redis_server(password="open sesame")
    server.start()
    here = await listening(make(RedisAddress(path=server.socket, password="open sesame")))
    notices = make(address_of(server, password="open sesame"))
    await listening(notices)
    notices.tell(Notice(upto=1))
    await until(lambda: here.upto == 1)
    assert caplog.records == []
    for password, said in (("wrong", "WRONGPASS"), (None, "NOAUTH")):
        listener = Listener()
        await make(address_of(server, password=password)).start(listener)
        await until(lambda said=said: said in caplog.text)  # type: ignore[misc]
        assert listener.connections == 0
    assert "open sesame" not in caplog.text
    assert "open sesame" not in repr(address_of(server, password="open sesame"))


@pytest.fixture
def tls_server(make_redis_server: Callable[..., RedisServer], tmp_path: Path) -> RedisServer:
    """A server with the certificate `server.pem` for localhost that wants `client.pem` of clients."""
    for name in ("server", "client"):
        write_certificate(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
    server = make_redis_server(
        options=[
            *(
                "--tls-cert-file",
                str(tmp_path / "server.pem"),
                "--tls-key-file",
                str(tmp_path / "server.key"),
            ),
            *("--tls-ca-cert-file", str(tmp_path / "client.pem"), "--tls-auth-clients", "yes"),
        ],
        tls=True,
    )
    server.start()
    return server


# twisted hands the certificate to pyOpenSSL in a way that is deprecated there
@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
async def test_tls_with_certificates_on_both_sides(
    make: Make, tls_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "authorities"
    directory.mkdir()
    (directory / "redis.pem").write_bytes((tmp_path / "server.pem").read_bytes())
    own = {"certificate": tmp_path / "client.pem", "private_key": tmp_path / "client.key"}
    for authorities in ({"authorities": tmp_path / "server.pem"}, {"authorities_directory": directory}):
        tls = RedisTls(**own, **authorities)
        notices = make(RedisAddress(host="localhost", port=tls_server.port, tls=tls))
        here = await listening(notices)
        notices.tell(Notice(entry=entry(0, records=bytes(10**6))))
        await until(lambda here=here: here.heard)  # type: ignore[misc]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("host", "files", "said"),
    [
        ("localhost", {}, "certificate verify failed"),
        ("127.0.0.1", {"authorities": "server.pem"}, "127.0.0.1"),
        ("localhost", {"authorities": "client.pem"}, "certificate verify failed"),
        ("localhost", {"authorities": "server.pem"}, "alert"),
        ("localhost", {"authorities": "missing.pem"}, "No such file"),
        ("localhost", {"authorities": "server.key"}, "a file for TLS cannot be used"),
        ("localhost", {"certificate": "client.key", "authorities": "server.pem"}, "a file for TLS"),
        ("localhost", {"certificate": "client.pem", "authorities": "server.pem"}, "a file for TLS"),
    ],
)
async def test_tls_that_does_not_fit_is_refused(
    make: Make,
    tls_server: RedisServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    host: str,
    files: dict[str, str],
    said: str,
) -> None:
    tls = RedisTls(**{name: tmp_path / file for name, file in files.items()})
    before = at_work()
    notices, listener = make(RedisAddress(host=host, port=tls_server.port, tls=tls)), Listener()
    await notices.start(listener)
    await until(lambda: caplog.records)
    assert said in caplog.text
    assert listener.connections == 0
    await notices.stop()
    await until(lambda: at_work() == before, 1)
