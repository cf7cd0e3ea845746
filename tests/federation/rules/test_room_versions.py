# SPDX-License-Identifier: Apache-2.0
"""The record of room versions."""

from __future__ import annotations

import pickle

import attrs
import pytest

from federation.rules.errors import UnknownRoomVersion
from federation.rules.room_versions import (
    DEFAULT_ROOM_VERSION,
    ROOM_VERSIONS,
    EventIdFormat,
    RoomVersion,
    StateResolution,
    room_version,
)
from federation.rules.rule_numbers import Rule


def test_versions_are_known_by_their_names() -> None:
    assert list(ROOM_VERSIONS) == ["11", "12"]
    assert all(version.identifier == name for name, version in ROOM_VERSIONS.items())
    assert DEFAULT_ROOM_VERSION == "12"
    assert room_version("11") is ROOM_VERSIONS["11"]


@pytest.mark.parametrize("name", ["", "0", "13", "12 ", "org.example.unknown"])
def test_an_unknown_version(name: str) -> None:
    with pytest.raises(UnknownRoomVersion) as caught:
        room_version(name)
    assert caught.value.version == name


def test_what_version_12_changes() -> None:
    """spec: rooms, version 12: room ids, creators and state resolution; the rest is version 11."""
    eleven, twelve = ROOM_VERSIONS["11"], ROOM_VERSIONS["12"]
    names = [field.name for field in attrs.fields(RoomVersion)]
    changed = {name for name in names if getattr(eleven, name) != getattr(twelve, name)}
    assert changed == {
        "identifier",
        "room_id_is_create_hash",
        "creators_have_infinite_power",
        "state_resolution",
        "rule_numbers",
    }
    assert (eleven.state_resolution, twelve.state_resolution) == (StateResolution.V2, StateResolution.V2_1)
    assert twelve.room_id_is_create_hash
    assert twelve.creators_have_infinite_power


@pytest.mark.parametrize("name", ROOM_VERSIONS)
def test_what_both_versions_share(name: str) -> None:
    version = ROOM_VERSIONS[name]
    assert version.event_id_format is EventIdFormat.URL_SAFE_HASH
    assert version.strict_canonical_json
    assert version.integer_power_levels
    assert version.limits_notification_levels
    assert version.knock
    assert version.restricted
    assert version.knock_restricted
    assert version.redacts_in_content
    assert version.enforces_key_validity


@pytest.mark.parametrize("name", ROOM_VERSIONS)
def test_a_version_travels_between_processes_by_name(name: str) -> None:
    assert pickle.loads(pickle.dumps(ROOM_VERSIONS[name])) is ROOM_VERSIONS[name]


def test_every_rule_has_a_number_of_its_own() -> None:
    only_in_12 = {Rule.CREATE_ADDITIONAL_CREATORS, Rule.ROOM_ID, Rule.LEVELS_OF_CREATORS}
    numbers_11, numbers_12 = ROOM_VERSIONS["11"].rule_numbers, ROOM_VERSIONS["12"].rule_numbers
    assert set(numbers_11) == set(Rule) - only_in_12
    assert set(numbers_12) == set(Rule)
    assert len(set(numbers_11.values())) == len(numbers_11)
    assert len(set(numbers_12.values())) == len(numbers_12)
