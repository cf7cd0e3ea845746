# SPDX-License-Identifier: Apache-2.0
"""What must hold of a homeserver of several processes, whatever has happened to them; and who owns what."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from federation.processes.rendezvous import owner
from tests.support.load import Load
from tests.support.postgres_cluster import run_sql
from tests.support.process import ProcessClient, ServerProcess

_SERVER_ERROR = re.compile(r"^.* 5\d\d [0-9.]+ms .*$", re.MULTILINE)
_UNAVAILABLE = re.compile(r" 503 [0-9.]+ms ")
_LISTENS = "0A"
_PAGE = 1000
REFUSALS = {
    "The database cannot be reached at present",
    "The process that does this cannot be reached at present",
    "The process that does this was lost while it was at it; it is not known whether it was done",
    "The server is too busy",
    "The server stops",
}
"""The texts of 503s that tests of failures may get."""


def until(holds: Callable[[], object], what: str, seconds: float = 10) -> None:
    """Return once it holds, which must not take longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


# Who owns what


def _listening_ports(pid: int) -> set[int]:
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(os.readlink(descriptor))
        except FileNotFoundError:  # it was closed meanwhile
            continue
    ports = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTENS and f"socket:[{fields[9]}]" in sockets:
            ports.add(int(fields[1].split(":")[1], 16))
    return ports


def process_ids(arguments: Mapping[str, str | int], pids: Sequence[int]) -> list[str]:
    """The ids by which the processes with these operating system's numbers know each other."""
    rows = run_sql(dict(arguments), "SELECT process, address FROM processes")
    by_port = {int(address.rpartition(":")[2]): process for process, address in rows}
    return [by_port[(_listening_ports(pid) & by_port.keys()).pop()] for pid in pids]


def owner_among(name: str, ids: Sequence[str]) -> int:
    """Which of the processes owns `name`: its place in `ids`."""
    return ids.index(owner(name, ids))


def pid_of(server: ServerProcess) -> int:
    """The operating system's number of a running server."""
    assert server.process is not None
    return server.process.pid


# What must hold in the end


def event_ids(client: ProcessClient, room_id: str, *, backwards: bool = False) -> list[str]:
    """All events of the room as /messages shows them, in the order of the room."""
    ids = [event["event_id"] for event in client.messages(room_id, backwards=backwards, limit=_PAGE)]
    return ids[::-1] if backwards else ids


def check_same_everywhere(load: Load, servers: Sequence[ServerProcess]) -> None:
    """Each process shows the same events in the same order, and takes every token."""
    clients = [server.client(load.owner.token) for server in servers]
    for room_id in load.room_ids:
        expected = load.follower.seen[room_id]
        for client in clients:
            assert event_ids(client, room_id) == expected
            assert event_ids(client, room_id, backwards=True) == expected
    for server in servers:
        for writer in load.writers:
            client = server.client(writer.asking.client.token)
            who = client.json("GET", "/_matrix/client/v3/account/whoami")
            assert who["user_id"] == writer.asking.client.user_id
            client.close()


def check_refusals(load: Load) -> None:
    """Whoever was refused was told why, in a way that says that it is for now."""
    texts = {refusal.json["error"] for asking in load.askings for refusal in asking.refusals}
    assert texts <= REFUSALS


def check_logs(servers: Sequence[ServerProcess]) -> None:
    """No mistake of the program is in any log, and no error answer but those that say "for now"."""
    for server in servers:
        log = server.log()
        assert "Traceback" not in log
        assert [line for line in _SERVER_ERROR.findall(log) if not _UNAVAILABLE.search(line)] == []
