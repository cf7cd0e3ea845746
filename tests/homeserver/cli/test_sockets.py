# SPDX-License-Identifier: Apache-2.0
"""Which listeners several processes share, and which each has for itself."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater

from federation.http.ports import ListenerError
from homeserver.cli.problem import Problem
from homeserver.cli.sockets import (
    SharedSockets,
    check_own_ports,
    check_passed_sockets,
    config_of_process,
    shared_listeners,
)
from homeserver.config.config import Config
from homeserver.config.load import load_config
from tests.support.reactor import in_reactor

CLIENT = {"port": 8008, "bind_addresses": ["127.0.0.1"], "resources": [{"names": ["client"]}]}
METRICS = {"port": 9000, "bind_addresses": ["127.0.0.1"], "type": "metrics"}
WITH_HEALTH = {"port": 9100, "bind_addresses": ["127.0.0.1"], "resources": [{"names": ["metrics"]}]}
MIXED = {"port": 8009, "bind_addresses": ["127.0.0.1"], "resources": [{"names": ["client", "metrics"]}]}
HEALTH = {"port": 8010, "bind_addresses": ["127.0.0.1"], "resources": [{"names": ["health"]}]}
UNIX = {"path": "/run/main.sock", "resources": [{"names": ["client"]}]}
UNIX_METRICS = {"path": "/run/metrics.sock", "type": "metrics"}


def config(directory: Path, *listeners: dict[str, Any], **more: Any) -> Config:
    path = directory / "homeserver.yaml"
    path.write_text(
        json.dumps({"server_name": "example.org", "listeners": listeners, **more}), encoding="utf-8"
    )
    return load_config(path)


def test_what_clients_reach_is_shared_and_metrics_are_each_process_s_own(tmp_path: Path) -> None:
    read = config(tmp_path, CLIENT, METRICS, WITH_HEALTH, MIXED, HEALTH, UNIX, UNIX_METRICS)
    assert list(shared_listeners(read)) == [0, 3, 4, 5]
    places = [
        [
            listener.port or str(listener.path)
            for listener in config_of_process(read, number).listeners.listeners
        ]
        for number in (1, 3)
    ]
    assert places == [
        [8008, 9000, 9100, 8009, 8010, "/run/main.sock", "/run/metrics.sock"],
        [8008, 9002, 9102, 8009, 8010, "/run/main.sock", "/run/metrics.sock.3"],
    ]


def test_the_port_at_which_processes_reach_each_other_is_each_one_s_own(tmp_path: Path) -> None:
    for port, expected in ((7000, 7002), (0, 0)):
        read = config(tmp_path, CLIENT, processes={"port": port})
        assert config_of_process(read, 3).processes.processes.port == expected
        assert config_of_process(read, 1).processes.processes.port == port


def test_a_link_port_that_a_listener_has(tmp_path: Path) -> None:
    read = config(tmp_path, {**CLIENT, "port": 7001}, processes={"port": 7000})
    with pytest.raises(Problem, match=r"processes: with 2 processes .* 7000 to 7001, but 7001 is not free"):
        check_own_ports(read, 2)


def test_any_free_port_stays_any(tmp_path: Path) -> None:
    read = config(tmp_path, {**METRICS, "port": 0})
    assert config_of_process(read, 3).listeners.listeners[0].port == 0
    check_own_ports(read, 100)


def test_a_listener_that_serves_nothing_is_not_shared(tmp_path: Path) -> None:
    read = config(tmp_path, CLIENT, METRICS, enable_metrics=False)
    assert list(shared_listeners(read)) == [0]
    check_own_ports(config(tmp_path, {**CLIENT, "port": 9001}, METRICS, enable_metrics=False), 2)


@pytest.mark.parametrize(
    ("listeners", "processes", "clash"),
    [
        ([{**CLIENT, "port": 9002}, METRICS], 3, 9002),
        ([METRICS, {**METRICS, "port": 9001}], 2, 9001),
        ([{**METRICS, "port": 65535}], 2, 65536),
    ],
)
def test_ports_that_are_taken(
    tmp_path: Path, listeners: list[dict[str, Any]], processes: int, clash: int
) -> None:
    read = config(tmp_path, *listeners)
    with pytest.raises(Problem, match=f"takes the ports .* but {clash} is not free"):
        check_own_ports(read, processes)
    check_own_ports(read, 1)


def test_listeners_that_changed_after_the_start(tmp_path: Path) -> None:
    read = config(tmp_path, CLIENT, METRICS)
    check_passed_sockets(read, {0: (6,)})
    for sockets in ({}, {1: (6,)}, {0: (6,), 1: (7,)}):
        with pytest.raises(Problem, match="stop it and start it again"):
            check_passed_sockets(read, sockets)


@contextlib.contextmanager
def opened(read: Config) -> Iterator[SharedSockets]:
    async def open_them() -> SharedSockets:
        return SharedSockets(read, reactor=reactor)

    async def close() -> None:
        sockets.close()
        await deferLater(reactor, 0)  # type: ignore[arg-type]

    sockets = in_reactor(open_them())
    try:
        yield sockets
    finally:
        in_reactor(close())


def test_the_parent_listens_and_accepts_nothing(tmp_path: Path) -> None:
    read = config(tmp_path, {**CLIENT, "port": 0, "bind_addresses": ["127.0.0.1", "127.0.0.2"]}, METRICS)
    with opened(read) as sockets:
        (descriptors,) = sockets.descriptors().values()
        listening = [
            socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) for descriptor in descriptors
        ]
        with contextlib.ExitStack() as stack:
            names = [stack.enter_context(one).getsockname() for one in listening]
            assert [name[0] for name in names] == ["127.0.0.1", "127.0.0.2"]
            client = stack.enter_context(socket.create_connection(names[0], 5))
            in_reactor(_turn())
            accepted, address = listening[0].accept()  # it is still there to be accepted
            stack.enter_context(accepted)
            assert address == client.getsockname()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(names[0], 5)


async def _turn() -> None:
    """Let the reactor look after its sockets."""
    await deferLater(reactor, 0.05)  # type: ignore[arg-type]


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        read = config(tmp_path, {**CLIENT, "port": other.getsockname()[1]})
        with pytest.raises(ListenerError, match="another program uses it"), opened(read):
            pass
