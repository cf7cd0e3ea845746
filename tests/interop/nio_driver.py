# SPDX-License-Identifier: Apache-2.0
"""Two people who use matrix-nio.

Run in an environment that has it: `nio_driver.py SERVER_NAME URL`, or with two URLs, one for each of them.

What is asserted is what nio itself makes of the server's answers: its rooms, its users, its events. Every
step is told on standard output; one that fails shows why, and the exit status is 1.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import nio
from nio_people import PASSWORD, Passing, Person, good, refused

ROOM_NAME = "Greenhouse"


class Complaints(logging.Handler):
    """Keeps what nio says of events that it cannot read. Answers that it cannot read it returns as errors."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if not text.startswith("Error validating response"):
            self.texts.append(text)


class Scenario:
    """The steps, in order. Each builds on those before it."""

    def __init__(self, urls: Sequence[str], server_name: str) -> None:
        self.server_name = server_name
        self.alice = Person(urls[0], f"@alice:{server_name}")
        self.bob = Person(urls[-1], f"@bob:{server_name}")
        self.room_id = ""
        self.sent: dict[str, str] = {}

    def steps(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self.register,
            self.log_in,
            self.create_a_room,
            self.invite,
            self.join,
            self.send_to_one_another,
            self.send_twice_under_one_transaction_id,
            self.count_and_read,
            self.mention,
            self.set_the_fully_read_marker,
            self.type_text,
            self.react_and_reply,
            self.redact,
            self.page_back,
            self.page_forward,
            self.look_at_one_event,
            self.put_and_get_state,
            self.change_a_topic,
            self.set_a_profile,
            self.use_aliases,
            self.list_members_and_rooms,
            self.use_a_filter,
            self.be_refused,
            self.kick,
            self.ban,
            self.unban,
            self.leave,
            self.forget,
            self.reject_an_invite,
            self.log_out,
        ]

    async def close(self) -> None:
        await self.alice.client.close()
        await self.bob.client.close()

    async def register(self) -> None:
        for person, name in ((self.alice, "alice"), (self.bob, "bob")):
            answer = good(await person.client.register(name, PASSWORD, "first"), nio.RegisterResponse)
            assert answer.user_id == f"@{name}:{self.server_name}"
            assert answer.access_token
            assert answer.device_id
        async with Passing(self.bob.client.homeserver) as stranger:
            refused(await stranger.register("bob", PASSWORD), "M_USER_IN_USE")

    async def log_in(self) -> None:
        refused(await self.bob.client.login("wrong"), "M_FORBIDDEN")
        answer = good(await self.bob.client.login(PASSWORD, "second"), nio.LoginResponse)
        assert answer.user_id == self.bob.user_id
        assert good(await self.bob.client.whoami(), nio.WhoamiResponse).user_id == self.bob.user_id
        await self.bob.until("nothing yet", lambda: True)
        assert self.bob.client.rooms == {}

    async def create_a_room(self) -> None:
        made = await self.alice.client.room_create(
            name=ROOM_NAME, topic="Tomatoes", preset=nio.RoomPreset.private_chat
        )
        self.room_id = good(made, nio.RoomCreateResponse).room_id
        await self.alice.until("the new room", lambda: self.room_id in self.alice.client.rooms)
        room = self.alice.room(self.room_id)
        assert room.name == ROOM_NAME
        assert room.display_name == ROOM_NAME
        assert room.topic == "Tomatoes"
        assert room.join_rule == "invite"
        assert room.history_visibility == "shared"
        assert room.guest_access == "can_join"
        assert room.federate
        assert not room.encrypted
        assert set(room.users) == {self.alice.user_id}
        assert room.own_user_id == self.alice.user_id

    async def invite(self) -> None:
        good(await self.alice.client.room_invite(self.room_id, self.bob.user_id), nio.RoomInviteResponse)
        await self.bob.until("the invite", lambda: self.room_id in self.bob.client.invited_rooms)
        invited = self.bob.client.invited_rooms[self.room_id]
        assert invited.inviter == self.alice.user_id
        assert invited.name == ROOM_NAME
        assert invited.join_rule == "invite"
        assert self.room_id not in self.bob.client.rooms
        await self.alice.until("an invited user", lambda: self.alice.room(self.room_id).invited_users)
        room = self.alice.room(self.room_id)
        assert set(room.invited_users) == {self.bob.user_id}
        assert (room.joined_count, room.invited_count) == (1, 1)

    async def join(self) -> None:
        good(await self.bob.client.join(self.room_id), nio.JoinResponse)
        await self.bob.until("the joined room", lambda: self.room_id in self.bob.client.rooms)
        assert self.room_id not in self.bob.client.invited_rooms
        both = {self.alice.user_id, self.bob.user_id}
        await self.alice.until("both", lambda: set(self.alice.room(self.room_id).users) == both)
        await self.bob.until("both", lambda: set(self.bob.room(self.room_id).users) == both)
        assert self.alice.room(self.room_id).invited_users == {}
        assert self.alice.room(self.room_id).joined_count == 2
        assert self.bob.room(self.room_id).name == ROOM_NAME
        assert self.bob.room(self.room_id).topic == "Tomatoes"

    async def send_to_one_another(self) -> None:
        for sender, reader, name in (
            (self.alice, self.bob, "from alice"),
            (self.bob, self.alice, "from bob \N{TOMATO}"),
        ):
            event_id = await self._send(sender, name)
            await reader.until(name, lambda r=reader, e=event_id: r.event(e))
            event = reader.event(event_id)
            assert isinstance(event, nio.RoomMessageText)
            assert (event.body, event.sender) == (name, sender.user_id)
            assert abs(event.server_timestamp / 1000 - time.time()) < 60
            await sender.until("one's own message", lambda s=sender, e=event_id: s.event(e))
            assert sender.event(event_id).source["unsigned"]["transaction_id"] == name

    async def send_twice_under_one_transaction_id(self) -> None:
        first = await self._send(self.alice, "once")
        assert await self._send(self.alice, "once") == first
        await self.bob.until("once", lambda: self.bob.event(first))
        last = await self._send(self.alice, "the end")
        await self.bob.until("the end", lambda: self.bob.event(last))
        bodies = [getattr(event, "body", "") for event in self.bob.events]
        assert bodies.count("once") == 1

    async def count_and_read(self) -> None:
        await self._read(self.bob, self.sent["the end"])
        await self.bob.until("no unread", lambda: self._unread(self.bob) == 0)
        for name in ("one", "two", "three"):
            await self._send(self.alice, name)
        await self.bob.until("three unread", lambda: self._unread(self.bob) == 3)
        assert self.bob.room(self.room_id).unread_highlights == 0
        await self._read(self.bob, self.sent["two"])
        await self.bob.until("one unread", lambda: self._unread(self.bob) == 1)
        await self.alice.until("bob's receipt", lambda: self._receipt_of_bob() == self.sent["two"])
        await self._send(self.bob, "answered")
        await self.bob.until("none, as bob wrote", lambda: self._unread(self.bob) == 0)

    async def mention(self) -> None:
        content = {"msgtype": "m.text", "body": "look!", "m.mentions": {"user_ids": [self.bob.user_id]}}
        await self._send(self.alice, "look!", content)
        await self.bob.until("a highlight", lambda: self.bob.room(self.room_id).unread_highlights == 1)
        assert self._unread(self.bob) == 1

    async def set_the_fully_read_marker(self) -> None:
        event_id = self.sent["look!"]
        answer = await self.bob.client.room_read_markers(self.room_id, event_id, event_id)
        good(answer, nio.RoomReadMarkersResponse)
        marker = lambda: self.bob.room(self.room_id).fully_read_marker == event_id  # noqa: E731
        await self.bob.until("the marker", marker)
        await self.bob.until("no highlight", lambda: self.bob.room(self.room_id).unread_highlights == 0)
        receipts = self.alice.room(self.room_id).read_receipts
        await self.alice.until("bob's receipt", lambda: self.bob.user_id in receipts)
        assert receipts[self.bob.user_id].event_id == event_id
        assert receipts[self.bob.user_id].receipt_type == "m.read"

    async def type_text(self) -> None:
        good(await self.bob.client.room_typing(self.room_id, True, 20_000), nio.RoomTypingResponse)
        typing = lambda: self.alice.room(self.room_id).typing_users  # noqa: E731
        await self.alice.until("bob types", lambda: typing() == [self.bob.user_id])
        good(await self.bob.client.room_typing(self.room_id, False), nio.RoomTypingResponse)
        await self.alice.until("bob does not type", lambda: typing() == [])

    async def react_and_reply(self) -> None:
        target = self.sent["from alice"]
        relation = {"rel_type": "m.annotation", "event_id": target, "key": "\N{THUMBS UP SIGN}"}
        sent = await self.bob.client.room_send(self.room_id, "m.reaction", {"m.relates_to": relation})
        reaction = good(sent, nio.RoomSendResponse).event_id
        await self.alice.until("the reaction", lambda: self.alice.event(reaction))
        event = self.alice.event(reaction)
        assert isinstance(event, nio.ReactionEvent)
        assert (event.reacts_to, event.key) == (target, "\N{THUMBS UP SIGN}")
        reply = {"msgtype": "m.text", "body": "yes", "m.relates_to": {"m.in_reply_to": {"event_id": target}}}
        event_id = await self._send(self.bob, "yes", reply)
        await self.alice.until("the reply", lambda: self.alice.event(event_id))
        assert (
            self.alice.event(event_id).source["content"]["m.relates_to"]["m.in_reply_to"]["event_id"]
            == target
        )

    async def redact(self) -> None:
        target = await self._send(self.alice, "a slip")
        await self.bob.until("the slip", lambda: self.bob.event(target))
        done = await self.alice.client.room_redact(self.room_id, target, reason="wrong room")
        redaction = good(done, nio.RoomRedactResponse).event_id
        await self.bob.until("the redaction", lambda: self.bob.event(redaction))
        event = self.bob.event(redaction)
        assert isinstance(event, nio.RedactionEvent)
        assert (event.redacts, event.reason) == (target, "wrong room")
        found = good(await self.bob.client.room_get_event(self.room_id, target), nio.RoomGetEventResponse)
        assert isinstance(found.event, nio.RedactedEvent)
        assert (found.event.redacter, found.event.reason) == (self.alice.user_id, "wrong room")
        refused(await self.bob.client.room_redact(self.room_id, self.sent["once"]), "M_FORBIDDEN")

    async def page_back(self) -> None:
        for i in range(25):
            await self._send(self.alice, f"page {i}")
        token, pages, events = None, 0, []
        while True:
            page = await self.bob.client.room_messages(self.room_id, start=token, limit=10)
            good(page, nio.RoomMessagesResponse)
            assert not any(isinstance(event, nio.BadEvent | nio.UnknownBadEvent) for event in page.chunk)
            events += page.chunk
            pages += 1
            if page.end is None:
                break
            assert page.end != token
            token = page.end
        bodies = [event.body for event in events if isinstance(event, nio.RoomMessageText)]
        assert bodies[:25] == [f"page {i}" for i in reversed(range(25))]
        assert bodies[-1] == "from alice"
        assert len({event.event_id for event in events}) == len(events)
        assert isinstance(events[-1], nio.RoomCreateEvent)
        assert pages >= 5

    async def page_forward(self) -> None:
        forward = nio.MessageDirection.front
        page = await self.bob.client.room_messages(self.room_id, direction=forward, limit=2)
        good(page, nio.RoomMessagesResponse)
        assert isinstance(page.chunk[0], nio.RoomCreateEvent)
        rest = await self.bob.client.room_messages(
            self.room_id,
            start=page.end,
            direction=forward,
            limit=100,
            message_filter={"types": ["m.room.message"]},
        )
        bodies = [
            event.body for event in good(rest, nio.RoomMessagesResponse).chunk if hasattr(event, "body")
        ]
        assert bodies[:2] == ["from alice", "from bob \N{TOMATO}"]
        assert bodies[-1] == "page 24"

    async def look_at_one_event(self) -> None:
        event_id = self.sent["from alice"]
        found = good(await self.bob.client.room_get_event(self.room_id, event_id), nio.RoomGetEventResponse)
        assert (found.event.event_id, found.event.body) == (event_id, "from alice")
        missing = await self.bob.client.room_get_event(self.room_id, "$" + "A" * 43)
        refused(missing, "M_NOT_FOUND")

    async def put_and_get_state(self) -> None:
        content = {"seeds": [1, 2, {"kind": "\N{TOMATO}"}]}
        done = await self.alice.client.room_put_state(self.room_id, "org.example.bed", content, "north")
        event_id = good(done, nio.RoomPutStateResponse).event_id
        again = await self.alice.client.room_put_state(self.room_id, "org.example.bed", content, "north")
        assert good(again, nio.RoomPutStateResponse).event_id == event_id
        got = await self.bob.client.room_get_state_event(self.room_id, "org.example.bed", "north")
        assert good(got, nio.RoomGetStateEventResponse).content == content
        whole = good(await self.bob.client.room_get_state(self.room_id), nio.RoomGetStateResponse)
        keys = [(event["type"], event["state_key"]) for event in whole.events]
        assert len(set(keys)) == len(keys)
        assert ("org.example.bed", "north") in keys
        assert ("m.room.member", self.bob.user_id) in keys
        missing = await self.bob.client.room_get_state_event(self.room_id, "org.example.bed", "south")
        refused(missing, "M_NOT_FOUND")
        refused(
            await self.bob.client.room_put_state(self.room_id, "m.room.name", {"name": "x"}), "M_FORBIDDEN"
        )

    async def change_a_topic(self) -> None:
        done = await self.alice.client.room_put_state(self.room_id, "m.room.topic", {"topic": "Beans"})
        good(done, nio.RoomPutStateResponse)
        await self.bob.until("the topic", lambda: self.bob.room(self.room_id).topic == "Beans")

    async def set_a_profile(self) -> None:
        client, avatar = self.bob.client, f"mxc://{self.server_name}/bob"
        good(await client.set_displayname("Bob the Gardener"), nio.ProfileSetDisplayNameResponse)
        good(await client.set_avatar(avatar), nio.ProfileSetAvatarResponse)
        profile = good(await self.alice.client.get_profile(self.bob.user_id), nio.ProfileGetResponse)
        assert (profile.displayname, profile.avatar_url) == ("Bob the Gardener", avatar)
        named = await self.alice.client.get_displayname(self.bob.user_id)
        assert good(named, nio.ProfileGetDisplayNameResponse).displayname == "Bob the Gardener"
        user = lambda: self.alice.room(self.room_id).users[self.bob.user_id]  # noqa: E731
        await self.alice.until("the name", lambda: user().display_name == "Bob the Gardener")
        await self.alice.until("the avatar", lambda: user().avatar_url == avatar)
        assert self.alice.room(self.room_id).user_name(self.bob.user_id) == "Bob the Gardener"

    async def use_aliases(self) -> None:
        alias, client = f"#greenhouse:{self.server_name}", self.alice.client
        good(await client.room_put_alias(alias, self.room_id), nio.RoomPutAliasResponse)
        found = good(await self.bob.client.room_resolve_alias(alias), nio.RoomResolveAliasResponse)
        assert (found.room_id, found.servers) == (self.room_id, [self.server_name])
        canonical = {"alias": alias}
        done = await client.room_put_state(self.room_id, "m.room.canonical_alias", canonical)
        good(done, nio.RoomPutStateResponse)
        await self.bob.until("the alias", lambda: self.bob.room(self.room_id).canonical_alias == alias)
        # Here nio takes any answer for a success.
        again = await self.bob.client.room_put_alias(alias, self.room_id)
        assert again.transport_response.status == 409
        good(await client.room_delete_alias(alias), nio.RoomDeleteAliasResponse)
        refused(await self.bob.client.room_resolve_alias(alias), "M_NOT_FOUND")

    async def list_members_and_rooms(self) -> None:
        answer = good(await self.bob.client.joined_members(self.room_id), nio.JoinedMembersResponse)
        names = {member.user_id: member.display_name for member in answer.members}
        assert names[self.bob.user_id] == "Bob the Gardener"
        assert set(names) == {self.alice.user_id, self.bob.user_id}
        rooms = good(await self.bob.client.joined_rooms(), nio.JoinedRoomsResponse).rooms
        assert rooms == [self.room_id]

    async def use_a_filter(self) -> None:
        timeline = {"limit": 3, "types": ["m.room.message"]}
        uploaded = await self.bob.client.upload_filter(room={"timeline": timeline})
        filter_id = good(uploaded, nio.UploadFilterResponse).filter_id
        synced = await self.bob.client.sync(sync_filter=filter_id, full_state=True)
        await self._send(self.alice, "filtered")
        synced = await self.bob.client.sync(timeout=3000, sync_filter=filter_id)
        joined = good(synced, nio.SyncResponse).rooms.join[self.room_id]
        assert [event.body for event in joined.timeline.events] == ["filtered"]

    async def be_refused(self) -> None:
        async with Passing(self.bob.client.homeserver) as stranger:
            good(await stranger.register("mallory", PASSWORD), nio.RegisterResponse)
            refused(await stranger.join(self.room_id), "M_FORBIDDEN")
            refused(await stranger.room_messages(self.room_id), "M_FORBIDDEN")
            refused(await stranger.room_get_state(self.room_id), "M_FORBIDDEN")
            text = {"msgtype": "m.text", "body": "spam"}
            refused(await stranger.room_send(self.room_id, "m.room.message", text), "M_FORBIDDEN")
            assert good(await stranger.sync(), nio.SyncResponse).rooms.join == {}

    async def kick(self) -> None:
        done = await self.alice.client.room_kick(self.room_id, self.bob.user_id, "weeds")
        good(done, nio.RoomKickResponse)
        await self.bob.until("that bob is out", lambda: self.room_id in self.bob.left)
        await self.alice.until("that bob is out", lambda: self._members() == {self.alice.user_id})
        refused(await self.bob.client.join(self.room_id), "M_FORBIDDEN")
        good(await self.alice.client.room_invite(self.room_id, self.bob.user_id), nio.RoomInviteResponse)
        good(await self.bob.client.join(self.room_id), nio.JoinResponse)
        await self.bob.until("that bob is back", lambda: self.room_id not in self.bob.left)
        event_id = await self._send(self.alice, "welcome back")
        await self.bob.until("the welcome", lambda: self.bob.event(event_id))

    async def ban(self) -> None:
        refused(await self.bob.client.room_ban(self.room_id, self.alice.user_id), "M_FORBIDDEN")
        done = await self.alice.client.room_ban(self.room_id, self.bob.user_id, "more weeds")
        good(done, nio.RoomBanResponse)
        await self.bob.until("that bob is out", lambda: self.room_id in self.bob.left)
        member = await self.alice.client.room_get_state_event(self.room_id, "m.room.member", self.bob.user_id)
        content = good(member, nio.RoomGetStateEventResponse).content
        assert (content["membership"], content["reason"]) == ("ban", "more weeds")
        refused(await self.alice.client.room_invite(self.room_id, self.bob.user_id), "M_FORBIDDEN")

    async def unban(self) -> None:
        done = await self.alice.client.room_unban(self.room_id, self.bob.user_id)
        good(done, nio.RoomUnbanResponse)
        good(await self.alice.client.room_invite(self.room_id, self.bob.user_id), nio.RoomInviteResponse)
        await self.bob.until("the invite", lambda: self.room_id in self.bob.client.invited_rooms)
        good(await self.bob.client.join(self.room_id), nio.JoinResponse)
        await self.bob.until("that bob is back", lambda: self.room_id not in self.bob.left)

    async def leave(self) -> None:
        good(await self.bob.client.room_leave(self.room_id), nio.RoomLeaveResponse)
        await self.bob.until("that bob left", lambda: self.room_id in self.bob.left)
        await self.alice.until("that bob left", lambda: self._members() == {self.alice.user_id})
        # Those who left may read what was before.
        page = await self.bob.client.room_messages(self.room_id, limit=3)
        [left, *_] = good(page, nio.RoomMessagesResponse).chunk
        assert isinstance(left, nio.RoomMemberEvent)
        assert (left.membership, left.prev_membership) == ("leave", "join")

    async def forget(self) -> None:
        good(await self.bob.client.room_forget(self.room_id), nio.RoomForgetResponse)
        refused(await self.bob.client.room_messages(self.room_id), "M_FORBIDDEN")
        assert good(await self.bob.client.joined_rooms(), nio.JoinedRoomsResponse).rooms == []
        refused(await self.alice.client.room_forget(self.room_id), "M_UNKNOWN")

    async def reject_an_invite(self) -> None:
        made = await self.alice.client.room_create(invite=[self.bob.user_id], is_direct=True)
        room_id = good(made, nio.RoomCreateResponse).room_id
        await self.bob.until("the invite", lambda: room_id in self.bob.client.invited_rooms)
        good(await self.bob.client.room_leave(room_id), nio.RoomLeaveResponse)
        await self.bob.until("no invite", lambda: room_id in self.bob.left)
        await self.alice.until("the room", lambda: room_id in self.alice.client.rooms)
        assert self.alice.room(room_id).invited_users == {}

    async def log_out(self) -> None:
        token = self.bob.client.access_token
        good(await self.bob.client.logout(), nio.LogoutResponse)
        self.bob.client.access_token = token
        refused(await self.bob.client.whoami(), "M_UNKNOWN_TOKEN")

    async def _send(self, sender: Person, name: str, content: dict[str, Any] | None = None) -> str:
        """Send a text under the transaction id `name`; returns the event's id."""
        content = content or {"msgtype": "m.text", "body": name}
        sent = await sender.client.room_send(self.room_id, "m.room.message", content, tx_id=name)
        self.sent[name] = good(sent, nio.RoomSendResponse).event_id
        return self.sent[name]

    async def _read(self, reader: Person, event_id: str) -> None:
        done = await reader.client.update_receipt_marker(self.room_id, event_id)
        good(done, nio.UpdateReceiptMarkerResponse)

    def _receipt_of_bob(self) -> str | None:
        """Up to where bob has read the main timeline, as alice sees it."""
        receipts = self.alice.room(self.room_id).threaded_read_receipts.get(self.bob.user_id, {})
        return receipts["main"].event_id if "main" in receipts else None

    def _unread(self, reader: Person) -> int:
        count: int = reader.room(self.room_id).unread_notifications
        return count

    def _members(self) -> set[str]:
        return set(self.alice.room(self.room_id).users)


async def main(server_name: str, *urls: str) -> int:
    complaints = Complaints()
    logging.getLogger("nio").addHandler(complaints)
    scenario = Scenario(urls, server_name)
    failures = 0
    try:
        for step in scenario.steps():
            try:
                await asyncio.wait_for(step(), 60)
                assert not complaints.texts
                print("ok", step.__name__, flush=True)
            except Exception:
                failures += 1
                print("FAILED", step.__name__, *complaints.texts, traceback.format_exc(), flush=True)
                complaints.texts.clear()
    finally:
        await scenario.close()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
