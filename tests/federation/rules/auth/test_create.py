# SPDX-License-Identifier: Apache-2.0
"""The create event, the room it makes, and `m.federate`. spec: rooms, "Authorisation rules", 1 to 4."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from federation.rules.auth.rules import check_auth
from federation.rules.auth.state import AuthStateOf
from federation.rules.errors import AuthRefused
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from federation.rules.rule_numbers import Rule
from storage.event import Event
from tests.support.judging import CREATOR, USER, VERSIONS, Facts, bare_event, create_event, number, since

pytestmark = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.identifier)


def refusal(event: Event, version: RoomVersion) -> str | None:
    """A create event is judged by itself, whatever the state."""
    try:
        check_auth(event, AuthStateOf(), version)
    except AuthRefused as error:
        return error.rule
    return None


def test_create_events(version: RoomVersion) -> None:
    assert refusal(create_event(version), version) is None
    assert refusal(create_event(version, {"m.federate": False, "creator": 5}), version) is None


def test_prev_events(version: RoomVersion) -> None:
    assert refusal(create_event(version, prev_events=["$x"]), version) == "1.1"


def test_room_id(version: RoomVersion) -> None:
    own = create_event(version, room_id="!room:a.example")
    others = create_event(version, room_id="!room:b.example")
    hashed = create_event(version, room_id="!Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg")
    expected = ("1.2" if since(version, 12) else None, "1.2", "1.2")
    assert (refusal(own, version), refusal(others, version), refusal(hashed, version)) == expected


def test_the_domain_of_the_room_id_has_its_port(version: RoomVersion) -> None:
    if not version.room_id_is_create_hash:
        assert refusal(create_event(version, room_id="!room:a.example:8448"), version) == "1.2"


@pytest.mark.parametrize("known", ["0", "13", "", "org.example", 1, 11, 12, None, [], {}])
def test_unknown_room_versions(version: RoomVersion, known: Any) -> None:
    assert refusal(create_event(version, {"room_version": known}), version) == "1.3"


def test_a_room_version_may_be_absent(version: RoomVersion) -> None:
    own = {} if version.room_id_is_create_hash else {"room_id": "!room:a.example"}
    event = bare_event(version, "m.room.create", CREATOR, {"creator": CREATOR}, state_key="", **own)
    assert refusal(event, version) is None


@pytest.mark.parametrize("content", [{"creator": CREATOR}, {"creator": USER}, {"creator": None}, {}])
def test_the_creator_must_be_named_in_versions_1_to_10(version: RoomVersion, content: Any) -> None:
    own = {} if version.room_id_is_create_hash else {"room_id": "!room:a.example"}
    event = bare_event(version, "m.room.create", CREATOR, content, state_key="", **own)
    assert refusal(event, version) == (None if content or since(version, 11) else "1.4")


@pytest.mark.parametrize("name", ROOM_VERSIONS)
def test_known_room_versions(version: RoomVersion, name: str) -> None:
    assert refusal(create_event(version, {"room_version": name}), version) is None


@pytest.mark.parametrize("creators", [[], [USER], [USER, "@日本:[::1]"], ["@:a"]])
def test_additional_creators(version: RoomVersion, creators: list[str]) -> None:
    assert refusal(create_event(version, {"additional_creators": creators}), version) is None


@pytest.mark.parametrize(
    "creators", [None, "@a:a", {}, {"@a:a": 1}, 5, [5], [None], [[USER]], ["user"], [USER, "@a"], ["@a:b c"]]
)
def test_additional_creators_that_are_none(version: RoomVersion, creators: Any) -> None:
    """Before version 12 the key means nothing."""
    expected = "1.4" if since(version, 12) else None
    assert refusal(create_event(version, {"additional_creators": creators}), version) == expected


def test_a_room_without_create_event(version: RoomVersion) -> None:
    facts = Facts(version)
    with pytest.raises(AuthRefused) as caught:
        check_auth(facts.member(USER, USER, "join"), AuthStateOf(), version)
    assert caught.value.rule == ("2" if since(version, 12) else "2.4")


def test_an_event_of_another_room(version: RoomVersion) -> None:
    facts = Facts(version, members={USER: "join"})
    other = create_event(version, {"other": 1})
    room_id = other.room_id if version.room_id_is_create_hash else "!other:a.example"
    event = facts.event("m.room.message", USER, room_id=room_id)
    assert facts.refusal(event) == ("2" if since(version, 12) else None)


@pytest.mark.parametrize(
    ("federate", "sender", "allowed"),
    [
        (False, CREATOR, True),
        (False, "@other:a.example", True),
        (False, USER, False),
        (False, "@user:a.example:8448", False),
        (True, USER, True),
        (None, USER, True),
        ("false", USER, True),
        (0, USER, True),
    ],
)
@pytest.mark.parametrize("event_type", ["m.room.message", "m.room.member"])
def test_federate(version: RoomVersion, federate: Any, sender: str, allowed: bool, event_type: str) -> None:
    facts = Facts(version, create={"m.federate": federate}, members={sender: "join"}, join_rule="public")
    event = facts.event(event_type, sender, {"membership": "leave"}, state_key=sender, prev_events=["$x"])
    if event_type == "m.room.message":
        event = attrs.evolve(event, state_key=None)
    assert facts.refusal(event) == (None if allowed else number(Rule.FEDERATE, version))
