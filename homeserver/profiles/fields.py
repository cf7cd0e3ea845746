# SPDX-License-Identifier: Apache-2.0
"""Which fields a profile may have, and what they may say.

spec: client-server-api, "Profiles"; appendices, "Common Namespaced Identifier Grammar".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from federation.errors import BadJson, InvalidParam, KeyTooLarge, ProfileTooLarge

DISPLAYNAME: Final = "displayname"
AVATAR_URL: Final = "avatar_url"
IN_ROOMS: Final = frozenset({DISPLAYNAME, AVATAR_URL})
"""The fields that member events repeat."""

LARGEST_PROFILE: Final = 65_535
"""Bytes of JSON that a whole profile may have."""
LONGEST_NAME: Final = 255
LONGEST_DISPLAYNAME: Final = 256
LONGEST_AVATAR_URL: Final = 1_000

_TIME_ZONE = "m.tz"
_WELL_KNOWN = frozenset({DISPLAYNAME, AVATAR_URL})
_NAMESPACED = re.compile(r"[a-z][a-z0-9_-]*(?:\.[a-z0-9_-]+)+", re.ASCII)
_MXC = re.compile(r"mxc://[^/\s\x00]+/[A-Za-z0-9_-]+")


def check_name(name: str) -> None:
    """Raise `KeyTooLarge` or `InvalidParam` for a name that no field may have."""
    if len(name.encode()) > LONGEST_NAME:
        raise KeyTooLarge(f"The name of a profile field must not be longer than {LONGEST_NAME} bytes")
    if name not in _WELL_KNOWN and not _NAMESPACED.fullmatch(name):
        raise InvalidParam(
            f"{name!r}: the name of a profile field must be namespaced, as in com.example.field"
        )


def checked_value(name: str, value: Any) -> Any:
    """What is to be stored; None where the field is to be deleted. Raises `BadJson` and `InvalidParam`.

    An empty display name or avatar is the same as none.
    """
    if name in (DISPLAYNAME, AVATAR_URL, _TIME_ZONE) and not isinstance(value, str):
        raise BadJson(f"{name}: must be a string")
    if value is None:
        raise BadJson(f"{name}: null is not kept; a DELETE request deletes the field")
    if name == DISPLAYNAME:
        _check_displayname(value)
    elif name == AVATAR_URL and value:
        _check_avatar_url(value)
    return None if name in IN_ROOMS and not value else value


def check_size(profile: Mapping[str, Any]) -> None:
    """Raise `ProfileTooLarge` for a profile that is too large as a whole."""
    if len(msgspec.json.encode(profile)) > LARGEST_PROFILE:
        raise ProfileTooLarge("A profile must be smaller than 64 KiB")


def _check_displayname(name: str) -> None:
    if len(name) > LONGEST_DISPLAYNAME:
        raise InvalidParam(f"displayname: must not be longer than {LONGEST_DISPLAYNAME} characters")
    if "\0" in name:
        raise InvalidParam("displayname: must not hold the character U+0000")


def _check_avatar_url(url: str) -> None:
    if len(url) > LONGEST_AVATAR_URL:
        raise InvalidParam(f"avatar_url: must not be longer than {LONGEST_AVATAR_URL} characters")
    if not _MXC.fullmatch(url):
        raise InvalidParam("avatar_url: must be an mxc:// URI")
