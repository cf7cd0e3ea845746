# SPDX-License-Identifier: Apache-2.0
"""Users who go on while their server fails: they write into rooms, and one follows what is written.

Whatever the server fails at is asked again, as clients do, so that in the end it is known what must be there.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from typing import Any

import attrs

from tests.support.process import Answer, ProcessClient, ServerProcess
from tests.support.server_processes import ServerProcesses

_PAUSE_SECONDS = 0.02
_ALL = json.dumps({"room": {"timeline": {"limit": 100}}})
_MADE_WITH = (
    *("create", "member", "power_levels", "join_rules", "history_visibility", "guest_access"),
    *("name", "topic"),
)
_BROKEN = (OSError, http.client.HTTPException)


@attrs.define
class Persistence:
    """Makes requests again until they are answered, and keeps what was wrong with the answers.

    `refusals` are the answers that said that the server cannot serve at present. `unanswered` are the
    requests that were sent and got no answer, or one of the balancer's, which had none either. `longest` is
    the longest time that a request took, in seconds; `began` is when that was sent which was answered last.
    """

    client: ProcessClient
    stop: threading.Event
    refusals: list[Answer] = attrs.field(factory=list)
    unanswered: list[Any] = attrs.field(factory=list)
    trouble: list[Any] = attrs.field(factory=list)
    longest: float = 0.0
    began: float = 0.0

    def ask(self, method: str, path: str, value: Any = None, **query: Any) -> Answer | None:
        """The answer; None if it is not 200, or if the server was away when all were told to stop."""
        while True:
            began = time.monotonic()
            try:
                answer = self.client.request(method, path, value, **query)
            except TimeoutError:
                self.trouble.append(f"no answer to {path} in {self.client.timeout} s")
            except _BROKEN as error:  # the server is away
                self.unanswered.append((method, path, repr(error)))
            else:
                self.longest = max(self.longest, time.monotonic() - began)
                if answer.status == 200:
                    self.began = began
                    return answer
                if answer.headers.get_content_type() != "application/json":
                    self.unanswered.append((method, path, answer))
                elif answer.status != 503 or {"errcode", "error"} - answer.json.keys():
                    self.trouble.append(answer)
                    return None
                else:
                    self.refusals.append(answer)
            time.sleep(_PAUSE_SECONDS)


@attrs.define
class Writer:
    """Sends message after message into a room, each until it is answered, under one transaction id.

    `pause`: seconds between an answer and the next message. `accepted`: when the message was sent that was
    acknowledged last.
    """

    asking: Persistence
    room_id: str
    name: str
    pause: float = 0.0
    acknowledged: dict[str, str] = attrs.field(factory=dict)
    accepted: float = 0.0

    def run(self) -> None:
        """Go on until told to stop."""
        number = 0
        while not self.asking.stop.is_set():
            number += 1
            self._send(f"{self.name}-{number}")
            self.asking.stop.wait(self.pause)

    def _send(self, txn_id: str) -> None:
        path = f"/_matrix/client/v3/rooms/{self.room_id}/send/m.room.message/{txn_id}"
        answer = self.asking.ask("PUT", path, {"msgtype": "m.text", "body": txn_id})
        if answer is not None:
            self.acknowledged[txn_id] = answer.json["event_id"]
            self.accepted = self.asking.began


@attrs.define
class Maker:
    """Makes room after room. A request that was not answered may have made one too."""

    asking: Persistence
    pause: float = 0.0
    acknowledged: list[str] = attrs.field(factory=list)

    def run(self) -> None:
        """Go on until told to stop."""
        while not self.asking.stop.is_set():
            body = {"preset": "public_chat", "name": "A name", "topic": "A topic"}
            answer = self.asking.ask("POST", "/_matrix/client/v3/createRoom", body)
            if answer is not None:
                self.acknowledged.append(answer.json["room_id"])
            self.asking.stop.wait(self.pause)

    def check(self) -> None:
        """What was promised is there, and every room that is there has all that it was made with."""
        client = self.asking.client
        made = client.json("GET", "/_matrix/client/v3/joined_rooms")["joined_rooms"]
        assert set(self.acknowledged) <= set(made)
        whole = sorted(f"m.room.{name}" for name in _MADE_WITH)
        for room_id in made:
            state = client.json("GET", f"/_matrix/client/v3/rooms/{room_id}/state")
            assert sorted(event["type"] for event in state) == whole


@attrs.define
class Follower:
    """Syncs and keeps every event that it is told of, by room and in order, and what it had at each token."""

    asking: Persistence
    token: str = ""
    seen: dict[str, list[str]] = attrs.field(factory=dict)
    had: list[tuple[str, dict[str, int]]] = attrs.field(factory=list)

    def run(self) -> None:
        """Go on until told to stop, and once more after that."""
        while not self.asking.stop.is_set():
            self.step(timeout=1000)
        self.step(timeout=0)

    def step(self, timeout: int) -> None:
        """One sync; `timeout` in milliseconds."""
        query = {"since": self.token} if self.token else {}
        answer = self.asking.ask("GET", "/_matrix/client/v3/sync", filter=_ALL, timeout=timeout, **query)
        if answer is None:
            return
        for room_id, room in answer.json.get("rooms", {}).get("join", {}).items():
            self._add(room_id, room["timeline"])
        self.token = answer.json["next_batch"]
        self.had.append((self.token, {room_id: len(ids) for room_id, ids in self.seen.items()}))

    def _add(self, room_id: str, timeline: dict[str, Any]) -> None:
        seen = self.seen.setdefault(room_id, [])
        gap = []
        if timeline.get("limited") and seen:
            for event in self._before(room_id, timeline["prev_batch"]):
                if event["event_id"] == seen[-1]:
                    break
                gap.append(event["event_id"])
        seen += gap[::-1]
        seen += [event["event_id"] for event in timeline["events"]]

    def _before(self, room_id: str, token: str) -> Any:
        while True:
            path = f"/_matrix/client/v3/rooms/{room_id}/messages"
            answer = self.asking.ask("GET", path, dir="b", limit=100, **{"from": token})
            page = {} if answer is None else answer.json
            yield from page.get("chunk", ())
            if "end" not in page:
                return
            token = page["end"]


class Load:
    """`writers` users who write into `rooms` rooms, one who follows them, and one who makes more rooms.

    Each has a thread. `pause`: for how many seconds those who write rest after each answer. `patience`: how
    many seconds an answer may take.

    `room_ids` are the rooms.
    """

    def __init__(
        self,
        server: ServerProcess | ServerProcesses,
        *,
        writers: int,
        rooms: int,
        pause: float = 0.0,
        patience: float = 30.0,
    ) -> None:
        self.owner = server.register("owner")
        self.room_ids = [self.owner.create_room(name=str(i)) for i in range(rooms)]
        self._stop = threading.Event()
        self.follower = Follower(Persistence(server.client(self.owner.token), self._stop))
        self.follower.asking.client.timeout = patience
        self.follower.step(timeout=0)
        self.writers = []
        for i in range(writers):
            client = server.register(f"writer{i}")
            client.timeout = patience
            room_id = self.room_ids[i % rooms]
            client.join(room_id)
            self.writers.append(Writer(Persistence(client, self._stop), room_id, f"w{i}", pause))
        self.maker = Maker(Persistence(server.register("maker"), self._stop), pause)
        self.maker.asking.client.timeout = patience
        self._threads = [
            threading.Thread(target=one.run, daemon=True)
            for one in (*self.writers, self.follower, self.maker)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def acknowledged(self) -> int:
        """How many messages were acknowledged up to now."""
        return sum(len(writer.acknowledged) for writer in self.writers)

    @property
    def refused(self) -> int:
        """How many messages were refused up to now, for they could not be written."""
        return sum(len(writer.asking.refusals) for writer in self.writers)

    @property
    def longest(self) -> float:
        """The longest time that a message took to be answered, in seconds."""
        return max(writer.asking.longest for writer in self.writers)

    def until_acknowledged(self, more: int, *, seconds: float) -> None:
        """Return when so many more messages are acknowledged, which must not take longer than `seconds`."""
        target = self.acknowledged + more
        deadline = time.monotonic() + seconds
        while self.acknowledged < target:
            assert time.monotonic() < deadline, f"{more} messages were not written within {seconds} s"
            time.sleep(0.01)

    def until_refused(self, more: int, *, seconds: float) -> None:
        """Return when so many more messages are refused, which must not take longer than `seconds`."""
        target = self.refused + more
        deadline = time.monotonic() + seconds
        while self.refused < target:
            assert time.monotonic() < deadline, f"{more} messages were not refused within {seconds} s"
            time.sleep(0.01)

    def until_every_room_accepts(self, since: float, *, seconds: float) -> None:
        """Return when a message that was sent after `since` is acknowledged in every room.

        That must not be later than `seconds` after `since`, which is a time of the monotonic clock.
        """
        while left := [room_id for room_id in self.room_ids if self._accepted(room_id) < since]:
            assert time.monotonic() < since + seconds, f"{left} took no message for {seconds} s"
            time.sleep(0.01)

    def _accepted(self, room_id: str) -> float:
        return max(writer.accepted for writer in self.writers if writer.room_id == room_id)

    @property
    def askings(self) -> list[Persistence]:
        """All who ask."""
        return [one.asking for one in (*self.writers, self.follower, self.maker)]

    def end(self) -> None:
        """Stop writing; the server must answer, and everything that was asked is answered."""
        self._stop.set()
        for thread in self._threads:
            thread.join(40)
            assert not thread.is_alive(), "a request was never answered"
        # The last sync of the follower may have come before another's last message.
        self.follower.step(timeout=0)
        self.owner.close()

    def check(self) -> None:
        """All that was promised: events are there once and in order, retries are known, tokens are valid."""
        trouble = [one for asking in self.askings for one in asking.trouble]
        assert not trouble, trouble
        for room_id in self.room_ids:
            events = list(self.owner.messages(room_id))
            self._check_each_is_there_once(room_id, events)
            assert self.follower.seen[room_id] == [event["event_id"] for event in events]
        self.maker.check()
        self._check_retries()
        self._check_tokens()

    def _check_each_is_there_once(self, room_id: str, events: list[dict[str, Any]]) -> None:
        messages = [event for event in events if event["type"] == "m.room.message"]
        bodies = Counter(event["content"]["body"] for event in messages)
        assert set(bodies.values()) == {1}
        ids = {event["content"]["body"]: event["event_id"] for event in messages}
        for writer in self.writers:
            if writer.room_id == room_id:
                assert writer.acknowledged.items() <= ids.items()
                numbers = [int(body.split("-")[1]) for body in ids if body.startswith(f"{writer.name}-")]
                assert numbers == sorted(numbers)

    def _check_retries(self) -> None:
        for writer in self.writers:
            chosen = random.Random(1).sample(sorted(writer.acknowledged), min(8, len(writer.acknowledged)))
            for txn_id in chosen:
                answer = writer.asking.client.send(writer.room_id, txn_id, txn_id)
                assert answer.json == {"event_id": writer.acknowledged[txn_id]}

    def _check_tokens(self) -> None:
        """A token of before shows what came after it, and nothing of before."""
        for token, had in self.follower.had[:: max(1, len(self.follower.had) // 15)]:
            joined = self.owner.json("GET", "/_matrix/client/v3/sync", since=token, filter=_ALL)
            for room_id in self.room_ids:
                missing = self.follower.seen[room_id][had.get(room_id, 0) :]
                room = joined.get("rooms", {}).get("join", {}).get(room_id)
                timeline = room["timeline"] if room else {"events": [], "limited": False}
                synced = [event["event_id"] for event in timeline["events"]]
                assert synced == missing[-100:]
                assert timeline["limited"] == (len(missing) > 100)
