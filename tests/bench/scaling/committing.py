# SPDX-License-Identifier: Apache-2.0
"""What a process commits without the homeserver around it: units with the rows of a message, without end.

So the database and its position counter are the limit, and not what builds events. The rooms' fences are left
out; no two processes ever wait for one.
"""

from __future__ import annotations

import json
import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults

from homeserver.config.config import read_config
from storage.client_transactions import ClientTransaction
from storage.commits.log import CommitLog
from storage.commits.logged import LoggedCommits
from storage.engine.opening import open_database
from storage.event import Event, StateAt, StoredEvent
from storage.event_records import NewEvent
from storage.numbers import EventNumbers
from storage.persist import Unit
from storage.read_points import ReadHere
from storage.runtime.background import BackgroundTasks
from storage.strings import Strings
from storage.threads import EVERY_THREAD
from storage.write_counts import WriteCounts
from storage.write_queue import WriteQueue
from tests.bench.load.requests import TEXT

_SERVER = "bench.localhost"


@attrs.frozen(kw_only=True)
class Task:
    """Which process this is, the `database` section, when to begin (by the wall clock), and what to do.

    `in_flight` units wait at any time; their answers let the next ones go.
    """

    process: int
    database: Mapping[str, Any]
    begin: float
    seconds: float
    in_flight: int

    def encode(self) -> str:
        """As an argument of a process."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def decode(cls, text: str) -> Task:
        """The task of an argument."""
        return cls(**json.loads(text))


async def commit_for_a_while(task: Task, reactor: Any) -> Mapping[str, float]:
    """How many commits and units there were between the beginning and the end, and what commits took."""
    config = read_config({"server_name": _SERVER, "database": task.database}, base=Path.cwd())
    database = await open_database(config.database.database, reactor=reactor)
    background = BackgroundTasks()
    counts = WriteCounts()
    queue = WriteQueue(
        database=database,
        strings=Strings(database),
        clock=reactor,
        background=background,
        on_commit=(),
        counts=counts,
        shared=LoggedCommits(CommitLog(database, process=f"bench{task.process}")),
    )
    numbers = EventNumbers(database)
    await numbers.reserve(1)
    end = task.begin + task.seconds
    lanes = [
        Deferred.fromCoroutine(_lane(task.process * 1000 + lane, queue, numbers, end))
        for lane in range(task.in_flight)
    ]
    await _until(task.begin, reactor)
    before = (sum(counts.batches.counts), counts.batches.total, counts.commits.total, time.process_time())
    await _until(end, reactor)
    after = (sum(counts.batches.counts), counts.batches.total, counts.commits.total, time.process_time())
    await gatherResults(lanes)
    await queue.stop()
    await background.stop()
    await database.close()
    commits, units, waited, spent = (then - now for then, now in zip(after, before, strict=True))
    return {"commits": commits, "units": units, "seconds in commits": waited, "processor seconds": spent}


async def _until(moment: float, reactor: Any) -> None:
    passed: Deferred[None] = Deferred()
    reactor.callLater(max(0.0, moment - time.time()), passed.callback, None)
    await passed


async def _lane(lane: int, queue: WriteQueue, numbers: EventNumbers, end: float) -> None:
    sent = 0
    while time.time() < end:
        await numbers.reserve(1)
        [number] = numbers.take(1)
        sent += 1
        await queue.submit(_message(lane, number, sent))


def _message(lane: int, number: int, sent: int) -> Unit:
    """What a message in a room of two makes; rooms and users are numbers that nobody reads."""
    room_id = f"!room{lane}:{_SERVER}"
    references = [_event_id() for _ in range(4)]
    now = int(time.time() * 1000)
    members = {
        "auth_events": references[1:],
        "content": {"body": TEXT, "msgtype": "m.text"},
        "depth": sent,
        "hashes": {"sha256": references[0][1:]},
        "origin_server_ts": now,
        "prev_events": references[:1],
        "room_id": room_id,
        "sender": f"@person{lane}:{_SERVER}",
        "signatures": {_SERVER: {"ed25519:a_bench": "s" * 86}},
        "type": "m.room.message",
    }
    event = Event.decode(json.dumps(members).encode(), _event_id(), room_id)
    stored = StoredEvent(event, number, None, sent, StateAt(0, 7))
    return Unit(
        [
            NewEvent(stored, room=lane, type=1, state_key=None, sender=lane, index=1),
            ClientTransaction(lane, f"/rooms/{room_id}/send", event.event_id, number, now),
            ReadHere(lane, lane, EVERY_THREAD, index=1, notify=sent, highlight=0),
        ],
        positions=1,
    )


def _event_id() -> str:
    return "$" + urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
