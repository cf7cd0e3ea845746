# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import BadJson, InvalidParam, KeyTooLarge, ProfileTooLarge
from homeserver.profiles.fields import LARGEST_PROFILE, check_name, check_size, checked_value


@pytest.mark.parametrize("name", ["displayname", "avatar_url", "m.tz", "com.example.a-b_c", "a.1"])
def test_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "name", ".", "a.", ".a", "a..b", "A.b", "1.a", "a.b\n", "ä.b", "a.b c"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InvalidParam):
        check_name(name)


@given(st.integers(1, 600))
def test_the_length_of_names(size: int) -> None:
    name = "a." + "b" * size
    if len(name) > 255:
        with pytest.raises(KeyTooLarge):
            check_name(name)
    else:
        check_name(name)


def test_the_length_of_names_is_in_bytes() -> None:
    with pytest.raises(KeyTooLarge):
        check_name("ä" * 128)


@pytest.mark.parametrize("name", ["displayname", "avatar_url"])
def test_an_empty_value_deletes_what_rooms_show(name: str) -> None:
    assert checked_value(name, "") is None


def test_values_at_their_limits() -> None:
    assert checked_value("displayname", "ü" * 256) == "ü" * 256
    longest = "mxc://a/" + "x" * (1000 - len("mxc://a/"))
    assert checked_value("avatar_url", longest) == longest
    for name, value in (("displayname", "ü" * 257), ("avatar_url", longest + "x")):
        with pytest.raises(InvalidParam):
            checked_value(name, value)


@pytest.mark.parametrize("value", [0, "", [], {}, False, {"a": None}])
def test_other_fields_hold_anything(value: object) -> None:
    assert checked_value("com.example", value) == value


@pytest.mark.parametrize("name", ["displayname", "avatar_url", "m.tz", "com.example"])
def test_null_is_refused(name: str) -> None:
    with pytest.raises(BadJson):
        checked_value(name, None)


def test_a_profile_at_its_limit() -> None:
    room = LARGEST_PROFILE - len('{"a":""}')
    check_size({"a": "x" * room})
    with pytest.raises(ProfileTooLarge):
        check_size({"a": "x" * (room + 1)})
