# SPDX-License-Identifier: Apache-2.0
"""Events as each requester gets them, rendered from what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from federation.http.endpoint import Requester
from homeserver.rooms.presentation import Presentation
from storage.engine.database import Database
from tests.support.app_server import AppServer, app_server
from tests.support.reactor import in_reactor
from tests.support.room_server import ok


@pytest.fixture
def server(database: Database) -> Iterator[AppServer]:
    with app_server(database) as running:
        yield running


def rendered(
    server: AppServer,
    room_id: str,
    event_id: str,
    requester: Requester,
    *,
    presentation: Presentation | None = None,
    **options: Any,
) -> Any:
    """An event as the requester gets it."""

    async def render() -> bytes:
        ground = server.ground
        room = (await server.storage.strings.find([room_id]))[room_id]
        stored = (await server.storage.events.by_id([event_id]))[event_id]
        views = await ground.history.views([room], requester.user, requester.user_id)
        looked_up = await (presentation or ground.presentation).look_up({room: [stored]}, views, requester)
        [event] = looked_up.render(room, [stored], **{"with_room_id": True, **options})
        return event

    return json.loads(in_reactor(render()))


def pdu(server: AppServer, event_id: str) -> Any:
    async def read() -> bytes:
        return (await server.storage.events.by_id([event_id]))[event_id].event.json

    return json.loads(in_reactor(read()))


def test_the_transaction_id_is_for_the_device_that_sent_it(server: AppServer) -> None:
    room_id = server.shared_room()
    [event_id] = server.alice.say(room_id, "a")
    alice, bob = server.tokens["alice"], server.tokens["bob"]
    mine = rendered(server, room_id, event_id, alice)["unsigned"]
    assert mine["transaction_id"] == "say a"
    for other in (attrs.evolve(alice, device=77), attrs.evolve(alice, device=None), bob):
        assert "transaction_id" not in rendered(server, room_id, event_id, other)["unsigned"]


def test_transaction_ids_are_found_again_after_a_restart(server: AppServer) -> None:
    room_id = server.shared_room()
    [event_id] = server.alice.say(room_id, "a")
    alice = server.tokens["alice"]
    ground = server.ground

    def started_later(lifetime_ms: int) -> Presentation:
        return Presentation(
            storage=server.storage,
            history=ground.history,
            clock=ground.reactor,
            transaction_lifetime_ms=lifetime_ms,
        )

    later = started_later(3600_000)
    again = rendered(server, room_id, event_id, alice, presentation=later)
    assert again["unsigned"]["transaction_id"] == "say a"
    gone = rendered(server, room_id, event_id, alice, presentation=started_later(-1))
    assert "transaction_id" not in gone["unsigned"]


def test_with_and_without_the_room(server: AppServer) -> None:
    room_id = server.shared_room()
    [event_id] = server.alice.say(room_id, "a")
    bob = server.tokens["bob"]
    whole = rendered(server, room_id, event_id, bob)
    assert whole["room_id"] == room_id
    part = rendered(server, room_id, event_id, bob, with_room_id=False)
    assert part.keys() == whole.keys() - {"room_id"}


def test_the_federation_format_is_the_pdu(server: AppServer) -> None:
    room_id = server.shared_room()
    [event_id] = server.alice.say(room_id, "a")
    bob = server.tokens["bob"]
    assert rendered(server, room_id, event_id, bob, federation_format=True) == pdu(server, event_id)
    ok(server.alice.redact(room_id, event_id, "t"))
    redacted = rendered(server, room_id, event_id, bob, federation_format=True)
    assert redacted == {**pdu(server, event_id), "content": {}}


def test_a_redaction_reaches_what_was_prepared_before(server: AppServer) -> None:
    room_id = server.shared_room()
    [event_id] = server.alice.say(room_id, "a")
    bob = server.tokens["bob"]
    before = rendered(server, room_id, event_id, bob)
    assert before["content"]["body"] == "a"
    assert "redacted_because" not in before["unsigned"]
    redaction = ok(server.alice.redact(room_id, event_id, "t", reason="wrong"))["event_id"]
    after = rendered(server, room_id, event_id, bob)
    assert after["content"] == {}
    because = after["unsigned"]["redacted_because"]
    assert (because["event_id"], because["sender"]) == (redaction, server.alice.id)
    assert because["room_id"] == room_id
    part = rendered(server, room_id, event_id, bob, with_room_id=False)
    assert "room_id" not in part["unsigned"]["redacted_because"]


def test_what_was_replaced_is_shown_to_those_who_may_see_it(server: AppServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    ok(server.alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"}))
    old = ok(server.alice.set_state(room_id, "org.example", {"secret": 1}))["event_id"]
    ok(server.bob.membership("join", room_id))
    new = ok(server.alice.set_state(room_id, "org.example", {"open": 1}))["event_id"]
    alice = rendered(server, room_id, new, server.tokens["alice"])["unsigned"]
    assert (alice["replaces_state"], alice["prev_content"]) == (old, {"secret": 1})
    bob = rendered(server, room_id, new, server.tokens["bob"])["unsigned"]
    assert bob["replaces_state"] == old
    assert "prev_content" not in bob


def test_ones_own_membership_before_is_shown_wherever_history_is_hidden(server: AppServer) -> None:
    room_id = server.alice.create_room(preset="public_chat")
    ok(server.alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"}))
    ok(server.alice.membership("invite", room_id, user_id=server.bob.id))
    ok(server.bob.membership("leave", room_id))
    ok(server.alice.membership("invite", room_id, user_id=server.bob.id))
    ok(server.bob.membership("join", room_id))
    ok(server.carol.membership("join", room_id))
    chunk = server.alice.page(room_id, "dir=b")["chunk"]
    joined, _, declined = [e["event_id"] for e in chunk if e.get("state_key") == server.bob.id][:3]
    for event_id in (joined, declined):
        bob = rendered(server, room_id, event_id, server.tokens["bob"])["unsigned"]
        assert bob["prev_content"]["membership"] == "invite"
        carol = rendered(server, room_id, event_id, server.tokens["carol"])["unsigned"]
        assert "prev_content" not in carol


def test_what_was_replaced_and_redacted_is_not_shown(server: AppServer) -> None:
    room_id = server.shared_room()
    old = ok(server.alice.set_state(room_id, "org.example", {"secret": 1}))["event_id"]
    new = ok(server.alice.set_state(room_id, "org.example", {"open": 1}))["event_id"]
    ok(server.alice.redact(room_id, old, "t"))
    assert rendered(server, room_id, new, server.tokens["bob"])["unsigned"]["prev_content"] == {}


def test_many_events_come_in_the_order_in_which_they_were_asked_for(server: AppServer) -> None:
    room_id = server.shared_room()
    sent = server.alice.say(room_id, *"abcdef")
    bob = server.tokens["bob"]

    async def render(ids: list[str]) -> list[Any]:
        room = (await server.storage.strings.find([room_id]))[room_id]
        found = await server.storage.events.by_id(ids)
        events = [found[event_id] for event_id in ids]
        views = await server.ground.history.views([room], bob.user, bob.user_id)
        looked_up = await server.ground.presentation.look_up({room: events}, views, bob)
        events = looked_up.render(room, events, with_room_id=False)
        return [json.loads(event)["event_id"] for event in events]

    for order in (sent[3:5], sent, sent[::-1]):
        assert in_reactor(render(order)) == order
