# SPDX-License-Identifier: Apache-2.0
"""What a client holds that follows its user by `/sync`, as the specification tells clients to take it in."""

from __future__ import annotations

from typing import Any

import attrs

Key = tuple[str, str]


@attrs.define
class FollowedRoom:
    """A joined room as the client knows it. `timeline` is what came since the last gap, `messages` what of it
    are messages.
    """

    state: dict[Key, str] = attrs.field(factory=dict)
    timeline: list[str] = attrs.field(factory=list)
    messages: list[str] = attrs.field(factory=list)
    senders: set[str] = attrs.field(factory=set)
    account_data: dict[str, Any] = attrs.field(factory=dict)
    receipts: dict[tuple[str, str, str | None], tuple[str, int]] = attrs.field(factory=dict)
    typing: list[str] = attrs.field(factory=list)
    unread: Any = None
    unread_threads: Any = None
    summary: dict[str, Any] = attrs.field(factory=dict)

    def take_in(self, section: Any, *, lazily: bool = False) -> None:
        """Apply a member of `rooms.join` or `rooms.leave`."""
        timeline = section["timeline"]
        if timeline["limited"]:
            self.timeline.clear()
            self.messages.clear()
        for event in section["state"]["events"] + timeline["events"]:
            if "state_key" not in event:
                continue
            key = (event["type"], event["state_key"])
            if "unsigned" not in event:
                # What the client holds of the key has lost its effect, and so its content.
                gone = {"membership": "leave"} if event["type"] == "m.room.member" else {}
                assert event["content"] == gone
                assert self.state.pop(key, event["event_id"]) == event["event_id"]
            else:
                self.state[key] = event["event_id"]
        for event in timeline["events"]:
            assert event["event_id"] not in self.timeline, "an event came twice"
            self.timeline.append(event["event_id"])
            if event["type"] == "m.room.message":
                self.messages.append(event["event_id"])
            self.senders.add(event["sender"])
            if lazily:
                assert ("m.room.member", event["sender"]) in self.state, "a sender's member event is missing"
        for event in section["account_data"]["events"]:
            self.account_data[event["type"]] = event["content"]
        for event in section.get("ephemeral", {"events": []})["events"]:
            self._take_in_ephemeral(event)
        if "unread_notifications" in section:
            self.unread = section["unread_notifications"]
            self.unread_threads = section.get("unread_thread_notifications")
        self.summary.update(section.get("summary", {}))

    def _take_in_ephemeral(self, event: Any) -> None:
        if event["type"] == "m.typing":
            self.typing = event["content"]["user_ids"]
            return
        assert event["type"] == "m.receipt"
        for event_id, by_type in event["content"].items():
            for kind, by_user in by_type.items():
                for user, data in by_user.items():
                    self.receipts[user, kind, data.get("thread_id")] = (event_id, data["ts"])


@attrs.define
class FollowingClient:
    """All that a client knows of its user's rooms."""

    lazily: bool = False
    since: str | None = None
    joined: dict[str, FollowedRoom] = attrs.field(factory=dict)
    left: dict[str, FollowedRoom] = attrs.field(factory=dict)
    invited: dict[str, Any] = attrs.field(factory=dict)
    knocked: dict[str, Any] = attrs.field(factory=dict)
    account_data: dict[str, Any] = attrs.field(factory=dict)

    def take_in(self, answer: Any) -> None:
        """Apply the answer of a sync."""
        self.since = answer["next_batch"]
        for event in answer["account_data"]["events"]:
            self.account_data[event["type"]] = event["content"]
        rooms = answer["rooms"]
        sections = [set(rooms[name]) for name in ("join", "leave", "invite", "knock")]
        assert sum(map(len, sections)) == len(set().union(*sections)), "a room is in two sections"
        for room_id, section in rooms["join"].items():
            self._forget(room_id, self.left, self.invited, self.knocked)
            self.joined.setdefault(room_id, FollowedRoom()).take_in(section, lazily=self.lazily)
        for room_id, section in rooms["leave"].items():
            room = self.joined.pop(room_id, None) or self.left.pop(room_id, None) or FollowedRoom()
            self._forget(room_id, self.invited, self.knocked)
            room.take_in(section)
            self.left[room_id] = room
        for room_id, section in rooms["invite"].items():
            self._forget(room_id, self.joined, self.left, self.knocked)
            self.invited[room_id] = _stripped(section["invite_state"])
        for room_id, section in rooms["knock"].items():
            self._forget(room_id, self.joined, self.left, self.invited)
            self.knocked[room_id] = _stripped(section["knock_state"])

    @staticmethod
    def _forget(room_id: str, *sections: dict[str, Any]) -> None:
        for section in sections:
            section.pop(room_id, None)


def _stripped(section: Any) -> dict[Key, Any]:
    return {(event["type"], event["state_key"]): event["content"] for event in section["events"]}
