# SPDX-License-Identifier: Apache-2.0
"""The stream property: a client's state plus an incremental sync equals a fresh sync, whatever happens."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import attrs
import pytest

from tests.support.following_client import FollowedRoom, FollowingClient
from tests.support.sync_server import USERS, Client, SyncServer, user_id

_NAMES = USERS[:3]
_STEPS = 260
_MOST_ROOMS = 3
_LONG = {"room": {"timeline": {"limit": 100}}}


def _filter(limit: int, *, lazily: bool = False, **more: Any) -> dict[str, Any]:
    return {"room": {"timeline": {"limit": limit}, "state": {"lazy_load_members": lazily}, **more}}


@attrs.define
class _Follower:
    """A device that follows its user."""

    user: Client
    filter: dict[str, Any]
    client: FollowingClient = attrs.field(factory=FollowingClient)

    def catch_up(self, **query: Any) -> None:
        since = self.client.since
        self.client.take_in(self.user.sync(since, filter=self.filter, **query))

    def check(self) -> None:
        """What the client holds is what a fresh sync tells."""
        self.catch_up()
        fresh = FollowingClient()
        fresh.take_in(self.user.sync(filter=_LONG))
        client = self.client
        assert client.joined.keys() == fresh.joined.keys()
        assert client.invited.keys() == fresh.invited.keys()
        assert client.knocked.keys() == fresh.knocked.keys()
        assert client.account_data == fresh.account_data
        for room_id, room in client.joined.items():
            _check_room(room, fresh.joined[room_id], lazily=client.lazily)
            # Counts alone are no news: a client that filters events away hears of them with the next news.
            assert "types" in self.filter["room"]["timeline"] or room.unread == fresh.joined[room_id].unread
        for room_id in client.invited.keys() | client.knocked.keys():
            assert ("m.room.create", "") in (client.invited | client.knocked)[room_id]


def _check_room(room: FollowedRoom, fresh: FollowedRoom, *, lazily: bool) -> None:
    if lazily:
        members = {key: event for key, event in room.state.items() if key[0] == "m.room.member"}
        assert members.items() <= fresh.state.items()
        assert {user for _, user in members} >= room.senders
        assert {user for _, user in members} >= set(fresh.summary.get("m.heroes", ()))
        others = {key: event for key, event in fresh.state.items() if key[0] != "m.room.member"}
        assert room.state == members | others
    else:
        assert room.state == fresh.state
    assert _is_end(room.messages, fresh.messages)
    assert room.timeline == room.messages or _is_end(room.timeline, fresh.timeline)
    assert room.account_data == fresh.account_data
    assert room.receipts == fresh.receipts
    assert room.typing == fresh.typing
    assert room.summary.items() >= fresh.summary.items()


def _is_end(one: list[str], other: list[str]) -> bool:
    """Whether one of the two lists is the end of the other."""
    length = min(len(one), len(other))
    return one[len(one) - length :] == other[len(other) - length :]


class _Driver:
    """Does random things in the name of random users; what is forbidden is refused, and that is fine."""

    def __init__(self, server: SyncServer, seed: int) -> None:
        self._random = random.Random(seed)
        self._server = server
        self._rooms: list[str] = []
        self._events: list[tuple[str, str]] = []
        self._count = 0
        self.log: list[str] = []
        self.followers = self._followers()
        self._actions: Sequence[tuple[int, Callable[[Client, str], None]]] = (
            (16, self._message),
            (6, self._state),
            (6, self._profile),
            (4, self._redact),
            (6, self._receipt),
            (5, self._typing),
            (4, self._account_data),
            (2, self._tag),
            (5, self._join),
            (4, self._leave),
            (5, self._invite),
            (3, self._kick),
            (2, self._ban),
            (2, self._unban),
            (2, self._knock),
            (3, self._forget),
            (2, self._create),
        )

    def _followers(self) -> list[_Follower]:
        return [
            _Follower(self._server.user(name + suffix), a_filter, FollowingClient(lazily=lazily))
            for name in _NAMES
            for suffix, a_filter, lazily in (
                ("", _filter(self._random.choice((1, 3, 10))), False),
                ("2", _filter(self._random.choice((1, 4, 10)), lazily=True), True),
                # Follows by what is in the state sections alone.
                ("", {"room": {"timeline": {"types": ["m.room.message"], "limit": 2}}}, False),
            )
        ]

    def step(self) -> None:
        """Do one thing; now and then some client syncs."""
        user = self._server.user(self._random.choice(_NAMES))
        if not self._rooms:
            self._create(user, "")
        weights = [weight for weight, _ in self._actions]
        [(_, action)] = self._random.choices(self._actions, weights)
        room_id = self._random.choice(self._rooms)
        self.log.append(f"{action.__name__} {user.id} {self._rooms.index(room_id)}")
        action(user, room_id)
        for follower in self.followers:
            if self._random.random() < 0.08:
                self.log.append(f"sync {follower.user.id} {follower.filter}")
                follower.catch_up(**({"full_state": True} if self._random.random() < 0.1 else {}))

    def _some_user(self) -> str:
        return user_id(self._random.choice(_NAMES))

    def _do(self, user: Client, method: str, path: str, value: Any = None) -> Any:
        answer = user.client.request(method, "/_matrix/client/v3" + path, {} if value is None else value)
        assert answer.status in (200, 400, 403, 404), answer
        return answer.json if answer.status == 200 else None

    def _sent(self, room_id: str, answer: Any) -> None:
        if answer is not None:
            self._events.append((room_id, answer["event_id"]))

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _create(self, user: Client, _room_id: str) -> None:
        if len(self._rooms) < _MOST_ROOMS:
            visibility = self._random.choice(("shared", "invited", "joined", "world_readable"))
            initial = {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}
            options = {"preset": "public_chat", "initial_state": [initial]}
            self._rooms.append(user.create_room(**options))

    def _message(self, user: Client, room_id: str) -> None:
        content: dict[str, Any] = {"msgtype": "m.text", "body": f"hello {self._some_user()} {self._next()}"}
        if self._random.random() < 0.3 and self._events:
            content["m.relates_to"] = {
                "rel_type": "m.thread", "event_id": self._random.choice(self._events)[1]
            }  # fmt: skip
        if self._random.random() < 0.3:
            content["m.mentions"] = {"user_ids": [self._some_user()]}
        path = f"/rooms/{quote(room_id)}/send/m.room.message/{self._next()}"
        self._sent(room_id, self._do(user, "PUT", path, content))

    def _state(self, user: Client, room_id: str) -> None:
        event_type, key, content = self._random.choice(
            (
                ("m.room.name", "", {"name": self._random.choice(("", "one", "two"))}),
                ("m.room.topic", "", {"topic": str(self._next())}),
                ("org.example.thing", self._random.choice("abc"), {"n": self._next()}),
                ("m.room.join_rules", "", {"join_rule": self._random.choice(("public", "invite", "knock"))}),
                ("m.room.history_visibility", "", {"history_visibility": self._visibility()}),
            )
        )
        path = f"/rooms/{quote(room_id)}/state/{event_type}/{key}"
        self._sent(room_id, self._do(user, "PUT", path, content))

    def _visibility(self) -> str:
        return self._random.choice(("shared", "invited", "joined", "world_readable"))

    def _profile(self, user: Client, room_id: str) -> None:
        path = f"/rooms/{quote(room_id)}/state/m.room.member/{quote(user.id)}"
        if self._do(user, "GET", path) == {"membership": "join"} or self._random.random() < 0.3:
            content = {"membership": "join", "displayname": f"me {self._next()}"}
            self._sent(room_id, self._do(user, "PUT", path, content))

    def _redact(self, user: Client, _room_id: str) -> None:
        if self._events:
            room_id, event_id = self._random.choice(self._events)
            path = f"/rooms/{quote(room_id)}/redact/{quote(event_id)}/{self._next()}"
            self._do(user, "PUT", path)

    def _receipt(self, user: Client, _room_id: str) -> None:
        if self._events:
            room_id, event_id = self._random.choice(self._events[-6:])
            kind = self._random.choice(("m.read", "m.read.private"))
            body = self._random.choice(({}, {}, {"thread_id": "main"}))
            self._do(user, "POST", f"/rooms/{quote(room_id)}/receipt/{kind}/{quote(event_id)}", body)

    def _typing(self, user: Client, room_id: str) -> None:
        typing = {"typing": True, "timeout": 60_000} if self._random.random() < 0.6 else {"typing": False}
        self._do(user, "PUT", f"/rooms/{quote(room_id)}/typing/{quote(user.id)}", typing)

    def _account_data(self, user: Client, room_id: str) -> None:
        room = self._random.choice(("", f"/rooms/{quote(room_id)}"))
        event_type = self._random.choice(("org.example.a", "org.example.b"))
        path = f"/user/{quote(user.id)}{room}/account_data/{event_type}"
        self._do(user, "PUT", path, {"n": self._next()})

    def _tag(self, user: Client, room_id: str) -> None:
        path = f"/user/{quote(user.id)}/rooms/{quote(room_id)}/tags/m.favourite"
        self._do(user, self._random.choice(("PUT", "DELETE")), path, {"order": self._random.random()})

    def _join(self, user: Client, room_id: str) -> None:
        self._do(user, "POST", f"/rooms/{quote(room_id)}/join")

    def _leave(self, user: Client, room_id: str) -> None:
        self._do(user, "POST", f"/rooms/{quote(room_id)}/leave")

    def _invite(self, user: Client, room_id: str) -> None:
        self._do(user, "POST", f"/rooms/{quote(room_id)}/invite", {"user_id": self._some_user()})

    def _kick(self, user: Client, room_id: str) -> None:
        self._do(user, "POST", f"/rooms/{quote(room_id)}/kick", {"user_id": self._some_user()})

    def _ban(self, user: Client, room_id: str) -> None:
        self._do(user, "POST", f"/rooms/{quote(room_id)}/ban", {"user_id": self._some_user()})

    def _unban(self, user: Client, room_id: str) -> None:
        self._do(user, "POST", f"/rooms/{quote(room_id)}/unban", {"user_id": self._some_user()})

    def _knock(self, user: Client, room_id: str) -> None:
        path = f"/rooms/{quote(room_id)}/state/m.room.member/{quote(user.id)}"
        self._do(user, "PUT", path, {"membership": "knock"})

    def _forget(self, user: Client, room_id: str) -> None:
        self._do(user, "POST", f"/rooms/{quote(room_id)}/forget")


@pytest.mark.parametrize("seed", [1, 2])
def test_following_equals_a_fresh_sync(server: SyncServer, seed: int) -> None:
    driver = _Driver(server, seed)
    try:
        for step in range(1, _STEPS + 1):
            driver.step()
            if step % 20 == 0:
                for follower in driver.followers:
                    follower.check()
    except AssertionError:
        print("\n".join(driver.log))
        raise
