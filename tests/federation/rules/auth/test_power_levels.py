# SPDX-License-Identifier: Apache-2.0
"""Power levels, and who may change them. spec: rooms, "Authorisation rules", 9 of versions 6 to 11,
10 of the others.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.rules.auth.power_levels import INFINITE, SINGLE_LEVELS, PowerLevels, creators
from federation.rules.room_versions import ROOM_VERSIONS, RoomVersion
from federation.rules.rule_numbers import Rule
from tests.support.judging import (
    ADMIN,
    CREATOR,
    MODERATOR,
    OTHER,
    USER,
    VERSIONS,
    Facts,
    create_event,
    number,
    since,
)

by_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.identifier)


def levels(version: RoomVersion, content: Any = None, create: Any = None) -> PowerLevels:
    return Facts(version, levels=content, create=create).levels()


@by_version
class TestReading:
    """spec: client-server-api, "m.room.power_levels"."""

    def test_without_an_event(self, version: RoomVersion) -> None:
        read = levels(version)
        assert read.user(CREATOR) == (INFINITE if since(version, 12) else 100)
        assert read.user(USER) == 0
        assert (read.ban, read.kick, read.redact, read.invite) == (50, 50, 50, 0)
        assert read.required("m.room.name", is_state=True) == 50
        assert read.required("m.room.message", is_state=False) == 0
        assert read.notification("room") == 50

    def test_with_an_empty_event(self, version: RoomVersion) -> None:
        read = levels(version, {})
        assert read.user(CREATOR) == (INFINITE if since(version, 12) else 0)
        assert attrs.evolve(read, users={}) == attrs.evolve(levels(version), users={})

    def test_everything_that_is_given(self, version: RoomVersion) -> None:
        content = {
            "ban": 1,
            "kick": 2,
            "redact": 3,
            "invite": 4,
            "state_default": 5,
            "events_default": 6,
            "users_default": 7,
            "users": {USER: 8},
            "events": {"m.room.name": 9, "m.room.message": -1},
            "notifications": {"room": 10},
        }
        read = levels(version, content)
        assert (read.ban, read.kick, read.redact, read.invite) == (1, 2, 3, 4)
        assert (read.user(USER), read.user(OTHER)) == (8, 7)
        assert read.required("m.room.name", is_state=True) == 9
        assert read.required("m.room.name", is_state=False) == 9
        assert read.required("m.room.message", is_state=False) == -1
        assert read.required("x", is_state=True) == 5
        assert read.required("x", is_state=False) == 6
        assert (read.notification("room"), read.notification("other")) == (10, 50)

    @pytest.mark.parametrize("value", [None, "x", True, [], {}])
    def test_what_is_no_level_counts_as_missing(self, version: RoomVersion, value: Any) -> None:
        content: dict[str, Any] = dict.fromkeys(SINGLE_LEVELS, value)
        read = levels(version, {**content, "users": {USER: value}, "events": value, "notifications": [value]})
        assert read == levels(version, {})

    @pytest.mark.parametrize("value", ["5", " 5", 5.0, 5.9])
    def test_what_old_versions_take_for_a_level(self, version: RoomVersion, value: Any) -> None:
        read = levels(version, {"ban": value, "users": {USER: value}})
        assert (read.ban, read.user(USER)) == ((50, 0) if since(version, 10) else (5, 5))

    @pytest.mark.parametrize("creator", [OTHER, "nobody", 5, None])
    def test_the_creator_whom_the_create_event_names(self, version: RoomVersion, creator: Any) -> None:
        """In versions 1 to 10 the creator is `content.creator`, whoever sent the event."""
        create = {"creator": creator}
        read = levels(version, create=create)
        made = creators(create_event(version, create), version)
        if since(version, 11):
            assert made == {CREATOR}
            assert read.user(OTHER) == 0
        else:
            assert made == ({creator} if isinstance(creator, str) else set())
            assert read.user(CREATOR) == 0
            assert read.user(OTHER) == (100 if creator == OTHER else 0)

    def test_creators(self, version: RoomVersion) -> None:
        create = {"additional_creators": [ADMIN, 5, None]}
        read = levels(version, {"users": {OTHER: 1000}}, create)
        made = creators(create_event(version, create), version)
        if version.creators_have_infinite_power:
            assert made == {CREATOR, ADMIN}
            assert read.user(CREATOR) == read.user(ADMIN) == INFINITE > read.user(OTHER)
        else:
            assert made == {CREATOR}
            assert read.user(ADMIN) == 0
        assert creators(create_event(version, {"additional_creators": "x"}), version) == {CREATOR}


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (5, 5),
        ("5", 5),
        (" 00100 ", 100),
        ("+100", 100),
        ("-100", -100),
        (50.57, 50),
        (5.114698e4, 51146),
        ("5.5", None),
        ("1e3", None),
        ("", None),
        ("+", None),
        ("- 5", None),
        ("٥", None),
        ("0" * 5000 + "7", 7),
        ("-" + "0" * 5000, 0),
        ("9" * 4300, 10**4300 - 1),
        ("9" * 4301, None),
        ("\u00a0\u30005\n", 5),
        ("+-5", None),
        ("1_000", None),
        ("0x5", None),
        (-50.57, -50),
        (1e308, int(1e308)),
        (float("inf"), None),
        (float("nan"), None),
        (True, None),
        (None, None),
    ],
)
@pytest.mark.parametrize("name", ["1", "9"])
def test_lenient_levels_of_old_versions(name: str, value: Any, level: int | None) -> None:
    """spec: rooms, version 1, "m.room.power_levels events accept values as strings" and "as floats"."""
    old = ROOM_VERSIONS[name]
    create = create_event(old)
    event = attrs.evolve(create, type="m.room.power_levels", content={"ban": value, "users": {USER: value}})
    read = PowerLevels.of(create, event, old)
    assert read.ban == (50 if level is None else level)
    assert read.user(USER) == (0 if level is None else level)


def change(
    version: RoomVersion,
    current: dict[str, Any] | None,
    new: dict[str, Any],
    sender: str = MODERATOR,
    create: dict[str, Any] | None = None,
) -> str | None:
    """The refusal of a change of the power levels by a joined `sender`."""
    facts = Facts(version, levels=current, members={sender: "join"}, create=create)
    return facts.refusal(facts.event("m.room.power_levels", sender, new, state_key=""))


# A room in which the moderator, at 50, may send power levels.
ROOM: dict[str, Any] = {"users": {ADMIN: 100, MODERATOR: 50, USER: 10}}


@by_version
class TestShape:
    """What the content must look like."""

    @pytest.mark.parametrize("key", SINGLE_LEVELS)
    @pytest.mark.parametrize("value", [None, "50", 50.0, True, [], {}])
    @pytest.mark.parametrize("current", [None, ROOM])
    def test_single_levels(self, version: RoomVersion, key: str, value: Any, current: Any) -> None:
        new = {**ROOM, key: value}
        refused = change(version, current, new, sender=CREATOR if current is None else MODERATOR)
        assert refused == (number(Rule.LEVELS_NOT_INTEGERS, version) if since(version, 10) else None)

    @pytest.mark.parametrize("key", ["events", "notifications"])
    @pytest.mark.parametrize("value", [None, 5, [], "x", {"a": "5"}, {"a": None}, {"a": True}, {"a": 5.0}])
    def test_maps_of_levels(self, version: RoomVersion, key: str, value: Any) -> None:
        rule = Rule.LEVELS_MAPS_NOT_INTEGERS if since(version, 10) else None
        assert change(version, ROOM, {**ROOM, key: value}) == number(rule, version)

    @pytest.mark.parametrize(
        "value",
        [
            None,
            5,
            [],
            "x",
            {USER: "5.0"},
            {USER: None},
            {USER: True},
            {"user": 5},
            {"": 5},
            {"@user": 5},
            {"#a:b": 5},
            {"@a:b c": 5},
            {"@a\0:b": 5},
        ],
    )
    def test_users(self, version: RoomVersion, value: Any) -> None:
        assert change(version, ROOM, {"users": value}) == number(Rule.LEVELS_USERS_SHAPE, version)

    def test_historical_user_ids(self, version: RoomVersion) -> None:
        users = {**ROOM["users"], "@日本 \x01:[::1]:1": 5, "@:a": 5}
        assert change(version, ROOM, {"users": users}) is None

    def test_users_may_be_absent(self, version: RoomVersion) -> None:
        assert change(version, {"users_default": 50}, {"users_default": 50}) is None

    def test_unknown_keys_stay_unread(self, version: RoomVersion) -> None:
        assert change(version, ROOM, {**ROOM, "other": "x", "historical": 1000}) is None

    @pytest.mark.parametrize(
        ("content", "old_rule", "rule"),
        [
            ({"ban": "50", "events": {"a": " 7 "}}, None, Rule.LEVELS_NOT_INTEGERS),
            ({"ban": "51"}, Rule.LEVELS_NEW_TOO_HIGH, Rule.LEVELS_NOT_INTEGERS),
            ({"ban": 50.9}, None, Rule.LEVELS_NOT_INTEGERS),
            ({"ban": 51.0}, Rule.LEVELS_NEW_TOO_HIGH, Rule.LEVELS_NOT_INTEGERS),
            ({"events": {"a": "51"}}, Rule.LEVELS_ENTRY_NEW_TOO_HIGH, Rule.LEVELS_MAPS_NOT_INTEGERS),
            ({"users": {**ROOM["users"], USER: " +10 "}}, None, Rule.LEVELS_USERS_SHAPE),
            ({"users": {**ROOM["users"], USER: 10.5}}, None, Rule.LEVELS_USERS_SHAPE),
            ({"users": {**ROOM["users"], ADMIN: "100"}}, None, Rule.LEVELS_USERS_SHAPE),
            (
                {"users": {**ROOM["users"], USER: "51"}},
                Rule.LEVELS_USER_NEW_TOO_HIGH,
                Rule.LEVELS_USERS_SHAPE,
            ),
        ],
    )
    def test_strings_and_floats(
        self, version: RoomVersion, content: dict[str, Any], old_rule: Rule | None, rule: Rule
    ) -> None:
        expected = number(rule if since(version, 10) else old_rule, version)
        assert change(version, ROOM, {**ROOM, **content}) == expected


@by_version
class TestCreators:
    """10.4: creators cannot be given a level."""

    @pytest.mark.parametrize("user", [CREATOR, OTHER])
    @pytest.mark.parametrize("level", [0, 50, 100])
    def test_creators_in_users(self, version: RoomVersion, user: str, level: int) -> None:
        create = {"additional_creators": [OTHER]}
        new = {"users": {user: level}}
        refused = change(version, None, new, CREATOR, create)
        assert refused == ("10.4" if since(version, 12) else None)

    def test_who_creates_may_do_anything_else(self, version: RoomVersion) -> None:
        new = {"users": {ADMIN: 10**9}, "ban": 10**9, "events": {"a": 10**9}, "notifications": {"a": 10**9}}
        current = {**ROOM, "events": {"a": 10**6}}
        expected = None if since(version, 12) else number(Rule.REQUIRED_LEVEL, version)
        assert change(version, current, new, CREATOR) == expected

    def test_an_additional_creator_may_as_well(self, version: RoomVersion) -> None:
        create = {"additional_creators": [OTHER]}
        expected = None if since(version, 12) else number(Rule.REQUIRED_LEVEL, version)
        assert change(version, ROOM, {"users": {}}, OTHER, create) == expected


@by_version
class TestChanges:
    """Who may change what. The moderator stands at 50."""

    def test_the_first_event(self, version: RoomVersion) -> None:
        new = {"users": {ADMIN: 1000}, "ban": 1000, "events": {"a": 1000}}
        assert change(version, None, new, CREATOR) is None

    @pytest.mark.parametrize("key", SINGLE_LEVELS)
    @pytest.mark.parametrize(
        ("old", "new", "rule"),
        [
            (None, 50, None),
            (None, 51, Rule.LEVELS_NEW_TOO_HIGH),
            (50, 49, None),
            (50, None, None),
            (49, 50, None),
            (49, 51, Rule.LEVELS_NEW_TOO_HIGH),
            (51, 51, None),
            (51, 50, Rule.LEVELS_CURRENT_TOO_HIGH),
            (51, None, Rule.LEVELS_CURRENT_TOO_HIGH),
            (51, 52, Rule.LEVELS_CURRENT_TOO_HIGH),
        ],
    )
    def test_single_levels(
        self, version: RoomVersion, key: str, old: int | None, new: int | None, rule: Rule | None
    ) -> None:
        # The sender's level and the level of the event itself stay what they are.
        base = {**ROOM, "events": {"m.room.power_levels": 50}}
        current = base if old is None else {**base, key: old}
        changed = base if new is None else {**base, key: new}
        assert change(version, current, changed) == number(rule, version)

    @pytest.mark.parametrize("key", ["events", "notifications"])
    @pytest.mark.parametrize(
        ("old", "new", "rule"),
        [
            (None, 50, None),
            (None, 51, Rule.LEVELS_ENTRY_NEW_TOO_HIGH),
            (50, 49, None),
            (50, None, None),
            (49, 51, Rule.LEVELS_ENTRY_NEW_TOO_HIGH),
            (51, 51, None),
            (51, 50, Rule.LEVELS_ENTRY_CURRENT_TOO_HIGH),
            (51, None, Rule.LEVELS_ENTRY_CURRENT_TOO_HIGH),
            (51, 52, Rule.LEVELS_ENTRY_CURRENT_TOO_HIGH),
        ],
    )
    def test_entries(
        self, version: RoomVersion, key: str, old: int | None, new: int | None, rule: Rule | None
    ) -> None:
        other = {"unchanged": 1000}
        current = {**ROOM, key: other if old is None else {**other, "a": old}}
        changed = {**ROOM, key: other if new is None else {**other, "a": new}}
        if key == "notifications" and not since(version, 6):
            rule = None
        assert change(version, current, changed) == number(rule, version)

    @pytest.mark.parametrize("key", ["events", "notifications"])
    def test_whole_maps(self, version: RoomVersion, key: str) -> None:
        current, new = Rule.LEVELS_ENTRY_CURRENT_TOO_HIGH, Rule.LEVELS_ENTRY_NEW_TOO_HIGH
        if key == "notifications" and not since(version, 6):
            current = new = None
        assert change(version, {**ROOM, key: {"a": 50}}, ROOM) is None
        assert change(version, {**ROOM, key: {"a": 51}}, ROOM) == number(current, version)
        assert change(version, ROOM, {**ROOM, key: {"a": 50}}) is None
        assert change(version, ROOM, {**ROOM, key: {"a": 51}}) == number(new, version)

    @pytest.mark.parametrize(
        ("user", "new", "rule"),
        [
            (USER, 0, None),
            (USER, None, None),
            (USER, 50, None),
            (USER, 51, Rule.LEVELS_USER_NEW_TOO_HIGH),
            (OTHER, 50, None),  # new
            (OTHER, 51, Rule.LEVELS_USER_NEW_TOO_HIGH),
            (ADMIN, 99, Rule.LEVELS_USER_CURRENT_TOO_HIGH),
            (ADMIN, None, Rule.LEVELS_USER_CURRENT_TOO_HIGH),
            (ADMIN, 101, Rule.LEVELS_USER_CURRENT_TOO_HIGH),
            ("@equal:a.example", 49, Rule.LEVELS_USER_CURRENT_TOO_HIGH),  # of the sender's own level
            ("@equal:a.example", None, Rule.LEVELS_USER_CURRENT_TOO_HIGH),
            ("@below:a.example", 0, None),
            (MODERATOR, 49, None),  # oneself
            (MODERATOR, None, None),
            (MODERATOR, 51, Rule.LEVELS_USER_NEW_TOO_HIGH),
        ],
    )
    def test_users(self, version: RoomVersion, user: str, new: int | None, rule: Rule | None) -> None:
        users = {**ROOM["users"], "@equal:a.example": 50, "@below:a.example": 49}
        changed = {key: level for key, level in users.items() if key != user}
        if new is not None:
            changed[user] = new
        assert change(version, {"users": users}, {"users": changed}) == number(rule, version)

    def test_a_level_may_move_between_being_named_and_the_default(self, version: RoomVersion) -> None:
        current = {"users": {MODERATOR: 50}, "users_default": 50}
        assert change(version, current, {"users_default": 50}) is None


LEVEL = st.integers(-1, 3)
CONTENT = st.fixed_dictionaries(
    {"users": st.dictionaries(st.sampled_from([ADMIN, MODERATOR, USER]), LEVEL)},
    optional={
        **dict.fromkeys(SINGLE_LEVELS, LEVEL),
        "events": st.dictionaries(st.sampled_from(["m.room.power_levels", "a"]), LEVEL),
        "notifications": st.dictionaries(st.sampled_from(["room"]), LEVEL),
    },
)


@given(st.sampled_from(VERSIONS), CONTENT, CONTENT, st.sampled_from([ADMIN, MODERATOR, USER]))
@settings(max_examples=300)
def test_nobody_gains_what_they_did_not_have(
    version: RoomVersion, current: dict[str, Any], new: dict[str, Any], sender: str
) -> None:
    """After a change that is allowed nobody is named above the sender's old level who was not before."""
    if change(version, current, new, sender) is not None:
        return
    own = levels(version, current).user(sender)
    for user, level in new["users"].items():
        assert level <= own or current["users"].get(user) == level
    for user, level in current["users"].items():
        if user != sender and level >= own:
            assert new["users"].get(user) == level
