# SPDX-License-Identifier: Apache-2.0
"""A real server is scraped over its metrics listeners, and docs/metrics.md lists what it tells."""

from __future__ import annotations

import contextlib
import http.client
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.databases import DatabaseHome
from tests.support.postgres_cluster import free_port
from tests.support.process import Answer, ProcessClient, ServerProcess

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "metrics.md"
SEND = "/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}"
SYNC = "/_matrix/client/v3/sync"
SECRET_TYPE = "org.example.secret"

Figures: TypeAlias = dict[str, float]


@attrs.frozen
class Scraped:
    """A server and its metrics listeners."""

    server: ServerProcess
    ports: tuple[int, int]

    def get(self, path: str, port: int = 0) -> Answer:
        """A request to one of the metrics listeners, without a token."""
        client = ProcessClient(self.ports[port])
        try:
            return client.request("GET", path)
        finally:
            client.close()

    def families(self) -> dict[str, Metric]:
        """What a scrape tells, by name."""
        text = self.get("/_synapse/metrics").body.decode()
        families = list(text_string_to_metric_families(text))
        by_name = {_name(family): family for family in families}
        assert len(by_name) == len(families)
        return by_name

    def figures(self) -> Figures:
        """Each sample of a scrape; the labels stand behind the name, in order of their names."""
        return {
            " ".join([sample.name, *(value for _, value in sorted(sample.labels.items()))]): sample.value
            for family in self.families().values()
            for sample in family.samples
        }


def _name(family: Metric) -> str:
    """The name as Prometheus' users know it."""
    return f"{family.name}_total" if family.type == "counter" else family.name


@pytest.fixture
def scraped(database_home: DatabaseHome, tmp_path: Path) -> Iterator[Scraped]:
    with scraped_server(database_home, tmp_path) as scraped:
        yield scraped


@contextlib.contextmanager
def scraped_server(database_home: DatabaseHome, tmp_path: Path, **settings: Any) -> Iterator[Scraped]:
    ports = free_port(), free_port()
    client = {"bind_addresses": ["127.0.0.1"], "resources": [{"names": ["client"]}]}
    first = {"port": ports[0], "bind_addresses": ["127.0.0.1"], "type": "metrics"}
    second = {**client, "port": ports[1], "resources": [{"names": ["metrics"]}]}
    server = ServerProcess(
        tmp_path / "server", database_home.configuration(), also_listening=[first, second], **settings
    )
    server.start()
    try:
        yield Scraped(server, ports)
    finally:
        server.remove()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def waiting_sync(client: ProcessClient, since: str) -> http.client.HTTPConnection:
    """A sync that waits for news."""
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=20)
    path = f"{SYNC}?since={since}&timeout=60000"
    connection.request("GET", path, None, {"Authorization": f"Bearer {client.token}"})
    return connection


def test_figures_move_when_something_happens(scraped: Scraped) -> None:
    alice = scraped.server.register("alice")
    room_id = alice.create_room()
    before = scraped.figures()
    for i in range(3):
        assert alice.send(room_id, str(i), "hello").status == 200
    assert alice.send("!nowhere:trellis.test", "4", "hello").status == 403
    assert scraped.server.client().request("PUT", f"{SYNC}x").status == 404
    since = alice.json("GET", SYNC)["next_batch"]
    with contextlib.closing(waiting_sync(alice, since)) as connection:
        until(lambda: scraped.figures()["trellis_long_polls_waiting"] == 1)
        # The probe is called ten times a second.
        lag = "trellis_reactor_lag_seconds_count"
        until(lambda: scraped.figures()[lag] > before[lag])
        check_what_moved(before, scraped.figures())
        alice.send(room_id, "5", "news")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read()
    until(lambda: scraped.figures()["trellis_long_polls_waiting"] == 0)
    assert scraped.figures()[f"trellis_http_requests_total {SYNC} GET 200"] == 2


def check_what_moved(before: Figures, after: Figures) -> None:
    def moved(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert moved(f"trellis_http_requests_total {SEND} PUT 200") == 3
    assert moved(f"trellis_http_requests_total {SEND} PUT 403") == 1
    assert moved("trellis_http_requests_total  PUT 404") == 1
    assert 0 < moved(f"trellis_http_request_seconds_total {SEND} PUT 200") < 10
    assert moved("trellis_events_total accepted local") == 3
    assert moved("trellis_write_queue_unit_seconds_count") >= 3
    assert moved("trellis_write_queue_commit_seconds_count") >= 3
    assert moved("trellis_write_queue_batch_units_sum") == moved("trellis_write_queue_unit_seconds_count")
    assert moved("trellis_database_work_total write queue") >= 3
    assert after["trellis_rooms_in_memory"] == 1
    # The sync and the scrape itself.
    assert after["trellis_http_requests_in_flight"] == 2
    assert after["trellis_cache_entries events"] > before["trellis_cache_entries events"]
    assert after["process_resident_memory_bytes"] > 10_000_000


def test_a_metrics_listener_serves_metrics_alone(scraped: Scraped) -> None:
    for port, health in ((0, 404), (1, 200)):
        for path in ("/_synapse/metrics", "/metrics"):
            answer = scraped.get(path, port)
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert scraped.get("/health", port).status == health
        assert scraped.get("/_matrix/client/versions", port).status == 404
        assert scraped.get("/_synapse/admin/v1/register", port).status == 404
        assert scraped.get("/", port).status == 404
    for path in ("/_synapse/metrics", "/metrics"):
        assert scraped.server.client().request("GET", path).status == 404


def test_no_metric_says_who_does_what(scraped: Scraped) -> None:
    alice = scraped.server.register("alice")
    room_id = alice.create_room(room_alias_name="lounge")
    event_id = alice.send(room_id, "secret-transaction", "secret message").json["event_id"]
    alice.request("PUT", f"/_matrix/client/v3/rooms/{room_id}/state/{SECRET_TYPE}/key", {})
    alice.request("GET", f"/_matrix/client/v3/nothing/{alice.user_id}", access_token=alice.token)
    alice.request("GET", f"/_matrix/client/v3/profile/{alice.user_id}")
    alice.json("GET", SYNC)
    text = scraped.get("/metrics").body.decode()
    device_id = alice.json("GET", "/_matrix/client/v3/account/whoami")["device_id"]
    secrets = [alice.user_id, alice.token, room_id, event_id, device_id, "alice", "lounge", "secret"]
    assert [secret for secret in secrets if str(secret) in text] == []
    labels = re.findall(r'="([^"]*)"', text)
    assert len(labels) > 100
    assert [label for label in labels if re.search(r"[@!$#%?&]", label)] == []


def documented() -> dict[str, tuple[str, str, str]]:
    """The table: by name, what kind of metric it is, its labels, and what it says."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| (.*?) ?\| (.*) \|$", DOCUMENTATION.read_text(), re.M)
    table = {name: (kind, labels, says) for name, kind, labels, says in rows}
    assert len(table) == len(rows)
    return table


def as_documented(family: Metric) -> tuple[str, str, str]:
    labels = {name: None for sample in family.samples for name in sample.labels if name != "le"}
    return family.type, ", ".join(f"`{name}`" for name in labels), family.documentation


AMONG_OTHERS = re.compile(
    "trellis_(processes_alive|owned_rooms_|commits_behind|forward|link_|notices_|followed_|commit_log_|unannounced_)"
)
"""What is there only where there are several processes."""


def test_the_documentation_lists_every_metric(scraped: Scraped) -> None:
    scraped.server.register("alice")
    check_documented(
        scraped, {name: row for name, row in documented().items() if not AMONG_OTHERS.match(name)}
    )


@pytest.mark.parametrize("engine", ["postgresql"])
def test_the_documentation_lists_what_several_processes_tell(
    engine: str, database_home: DatabaseHome, tmp_path: Path
) -> None:
    with scraped_server(database_home, tmp_path, processes={"enabled": True}) as scraped:
        scraped.server.register("alice")
        check_documented(scraped, documented())


def check_documented(scraped: Scraped, table: dict[str, tuple[str, str, str]]) -> None:
    told = {name: as_documented(family) for name, family in scraped.families().items()}
    if sys.platform != "linux":
        table = {name: row for name, row in table.items() if not name.startswith("process_")}
    assert table.keys() == told.keys(), rows_of(told)
    ours = {name: row for name, row in told.items() if name.startswith("trellis_")}
    assert len(ours) > 30
    unseen = {name for name in ours if not scraped.families()[name].samples}  # so far without any labels
    assert all(name.startswith("trellis_link_") for name in unseen), unseen
    table = {name: (row[0], "" if name in unseen else row[1], row[2]) for name, row in table.items()}
    assert {name: table[name] for name in ours} == ours, rows_of(told)


def rows_of(told: dict[str, tuple[str, str, str]]) -> str:
    """The table as it should be."""
    lines: list[Any] = [
        f"| `{name}` | {kind} | {labels} | {says} |" for name, (kind, labels, says) in told.items()
    ]
    return "docs/metrics.md should hold:\n" + "\n".join(lines)


@pytest.mark.parametrize("engine", ["sqlite"])
def test_metrics_that_are_turned_off(engine: str, database_home: DatabaseHome, tmp_path: Path) -> None:
    port = free_port()
    server = ServerProcess(
        tmp_path / "server",
        database_home.configuration(),
        also_listening=[{"port": port, "bind_addresses": ["127.0.0.1"], "type": "metrics"}],
        enable_metrics=False,
    )
    server.start()
    try:
        with pytest.raises(ConnectionRefusedError):
            ProcessClient(port).request("GET", "/metrics")
        assert "does not serve metrics, because enable_metrics is false" in server.log()
    finally:
        server.remove()
