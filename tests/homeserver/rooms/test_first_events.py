# SPDX-License-Identifier: Apache-2.0
"""The first events of rooms, as a pure function."""

from __future__ import annotations

from typing import Any

import pytest

from federation.errors import BadJson
from federation.rules.room_versions import ROOM_VERSIONS
from homeserver.rooms.first_events import FirstEvents
from homeserver.rooms.room_options import InitialStateEvent, RoomOptions

ALICE, BOB, CAROL = (f"@{name}:a.example" for name in ("alice", "bob", "carol"))


def first_events(version: str = "12", alias: str | None = None, **options: Any) -> FirstEvents:
    asked = RoomOptions(**options)
    return FirstEvents(
        creator=ALICE,
        version=ROOM_VERSIONS[version],
        options=asked,
        members={user_id: {"membership": f"of {user_id}"} for user_id in (ALICE, *asked.invited)},
        canonical_alias=alias,
    )


def contents(events: FirstEvents) -> dict[str, Any]:
    """The content of each type of which there is one, but for members."""
    return {draft.type: draft.content for draft in events.after_create() if draft.type != "m.room.member"}


@pytest.mark.parametrize(
    ("preset", "visibility", "join_rule", "guest_access", "invite"),
    [
        (None, None, "invite", "can_join", 0),
        (None, "private", "invite", "can_join", 0),
        (None, "public", "public", "forbidden", 50),
        ("private_chat", "public", "invite", "can_join", 0),
        ("trusted_private_chat", None, "invite", "can_join", 0),
        ("public_chat", "private", "public", "forbidden", 50),
    ],
)
def test_presets(preset: Any, visibility: Any, join_rule: str, guest_access: str, invite: int) -> None:
    found = contents(first_events(preset=preset, visibility=visibility))
    assert found["m.room.join_rules"] == {"join_rule": join_rule}
    assert found["m.room.guest_access"] == {"guest_access": guest_access}
    assert found["m.room.history_visibility"] == {"history_visibility": "shared"}
    assert found["m.room.power_levels"]["invite"] == invite


@pytest.mark.parametrize("preset", ["private_chat", "public_chat", "trusted_private_chat"])
def test_an_upgrade_takes_more_than_state_default_where_creators_stand_above(preset: Any) -> None:
    levels = contents(first_events("12", preset=preset))["m.room.power_levels"]
    assert levels["events"]["m.room.tombstone"] > levels["state_default"]
    assert levels["users"] == {}


@pytest.mark.parametrize(
    ("version", "preset", "users", "additional"),
    [
        ("11", "private_chat", {ALICE: 100}, None),
        ("11", "trusted_private_chat", {ALICE: 100, BOB: 100, CAROL: 100}, None),
        ("12", "private_chat", {}, None),
        ("12", "trusted_private_chat", {}, [BOB, CAROL]),
    ],
)
def test_who_is_trusted(version: str, preset: Any, users: dict[str, int], additional: Any) -> None:
    events = first_events(version, preset=preset, invite=[BOB, CAROL, BOB])
    assert contents(events)["m.room.power_levels"]["users"] == users
    assert events.create().content.get("additional_creators") == additional


def test_the_creation_content_is_not_changed() -> None:
    content = {"creator": BOB, "additional_creators": [CAROL]}
    events = first_events(creation_content=content, preset="trusted_private_chat", invite=[BOB])
    assert events.create().content == {"additional_creators": [CAROL, BOB], "room_version": "12"}
    assert content == {"creator": BOB, "additional_creators": [CAROL]}


@pytest.mark.parametrize("content", [None, {}, {"creator": BOB}])
def test_versions_1_to_10_name_the_creator(content: dict[str, Any] | None) -> None:
    for version in map(str, range(1, 11)):
        created = first_events(version, creation_content=content).create()
        assert created.content == {"creator": ALICE, "room_version": version}


def test_additional_creators_mean_nothing_to_version_11() -> None:
    events = first_events("11", creation_content={"additional_creators": 5}, preset="trusted_private_chat")
    assert events.create().content == {"additional_creators": 5, "room_version": "11"}


@pytest.mark.parametrize("content", [{"m.federate": 1}, {"type": None}, {"type": ["m.space"]}])
def test_creation_contents_of_a_wrong_shape(content: dict[str, Any]) -> None:
    with pytest.raises(BadJson):
        first_events(creation_content=content).create()


def test_the_order() -> None:
    events = first_events(
        alias="#a:a.example",
        name="",
        topic="t",
        invite=[CAROL, BOB],
        initial_state=[
            InitialStateEvent("org.example", {}, "b"),
            InitialStateEvent("m.room.guest_access", {}),
            InitialStateEvent("m.room.join_rules", {}, "not the room's"),
            InitialStateEvent("m.room.topic", {}),
            InitialStateEvent("org.example", {}, "a"),
        ],
    )
    assert [(draft.type, draft.state_key) for draft in events.after_create()] == [
        ("m.room.member", ALICE),
        ("m.room.power_levels", ""),
        ("m.room.canonical_alias", ""),
        ("m.room.join_rules", ""),
        ("m.room.history_visibility", ""),
        ("org.example", "b"),
        ("m.room.guest_access", ""),
        ("m.room.join_rules", "not the room's"),
        ("org.example", "a"),
        ("m.room.name", ""),
        ("m.room.topic", ""),
        ("m.room.member", CAROL),
        ("m.room.member", BOB),
    ]
    assert {draft.sender for draft in events.after_create()} == {ALICE}
