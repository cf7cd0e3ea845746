# SPDX-License-Identifier: Apache-2.0
"""The record of room versions, held to the specification's page of each."""

from __future__ import annotations

import pickle
from typing import Any

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

NAMES = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"]

# What each version's page says that it changes, beside its name.
CHANGES: dict[str, dict[str, Any]] = {
    "2": {"state_resolution": StateResolution.V2},
    "3": {
        "event_id_format": EventIdFormat.HASH,
        "references_have_hashes": False,
        "redaction_rule": False,
    },
    "4": {"event_id_format": EventIdFormat.URL_SAFE_HASH},
    "5": {"enforces_key_validity": True},
    "6": {"strict_canonical_json": True, "limits_notification_levels": True, "aliases_rule": False},
    "7": {"knock": True},
    "8": {"restricted": True},
    "9": {},
    "10": {"integer_power_levels": True, "knock_restricted": True},
    "11": {"creator_in_content": False, "redacts_in_content": True},
    "12": {
        "room_id_is_create_hash": True,
        "creators_have_infinite_power": True,
        "state_resolution": StateResolution.V2_1,
    },
}

# The versions whose text of redactions, or of authorisation rules, differs from the one before.
NEW_REDACTION = {"6", "8", "9", "11"}
NEW_RULES = {"3", "6", "7", "8", "10", "11", "12"}


def test_versions_are_known_by_their_names() -> None:
    assert list(ROOM_VERSIONS) == NAMES
    assert all(version.identifier == name for name, version in ROOM_VERSIONS.items())
    assert DEFAULT_ROOM_VERSION == "12"
    assert room_version("11") is ROOM_VERSIONS["11"]


@pytest.mark.parametrize("name", ["", "0", "13", "12 ", "1.0", "01", "org.example.unknown"])
def test_an_unknown_version(name: str) -> None:
    with pytest.raises(UnknownRoomVersion) as caught:
        room_version(name)
    assert caught.value.version == name


def test_version_1() -> None:
    switches = attrs.asdict(ROOM_VERSIONS["1"], recurse=False)
    del switches["rule_numbers"], switches["redaction"]
    assert switches == {
        "identifier": "1",
        "event_id_format": EventIdFormat.IN_PDU,
        "references_have_hashes": True,
        "room_id_is_create_hash": False,
        "creator_in_content": True,
        "strict_canonical_json": False,
        "integer_power_levels": False,
        "limits_notification_levels": False,
        "aliases_rule": True,
        "redaction_rule": True,
        "knock": False,
        "restricted": False,
        "knock_restricted": False,
        "creators_have_infinite_power": False,
        "redacts_in_content": False,
        "state_resolution": StateResolution.V1,
        "enforces_key_validity": False,
    }


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_version_changes(name: str) -> None:
    older, newer = ROOM_VERSIONS[NAMES[NAMES.index(name) - 1]], ROOM_VERSIONS[name]
    fields = [field.name for field in attrs.fields(RoomVersion)]
    changed = {field for field in fields if getattr(older, field) != getattr(newer, field)}
    expected = {"identifier", *CHANGES[name]}
    expected |= {"redaction"} if name in NEW_REDACTION else set()
    expected |= {"rule_numbers"} if name in NEW_RULES else set()
    assert changed == expected
    for field, value in CHANGES[name].items():
        assert getattr(newer, field) is value


@pytest.mark.parametrize("name", ROOM_VERSIONS)
def test_a_version_travels_between_processes_by_name(name: str) -> None:
    assert pickle.loads(pickle.dumps(ROOM_VERSIONS[name])) is ROOM_VERSIONS[name]
