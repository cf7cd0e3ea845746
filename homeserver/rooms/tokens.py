# SPDX-License-Identifier: Apache-2.0
"""The tokens of `/sync` and of paging: opaque to clients, with a kind and a version in front.

spec: client-server-api, "Pagination".
"""

from __future__ import annotations

import re

import attrs

from federation.errors import InvalidParam
from storage.events import Place

_SYNC = re.compile(r"t1_(\d{1,18})_(\d{1,15})(_t)?", re.ASCII)
_PLACE = re.compile(r"([ps])1_(-?\d{1,19})_(-?\d{1,19})", re.ASCII)
_LARGEST = 2**62


@attrs.frozen
class SyncToken:
    """What a client has seen: every change up to `position`, and of typing up to the stamp `typing`.

    `typists`: as far as it knows, somebody types in one of its user's rooms.
    """

    position: int
    typing: int
    typists: bool = False

    def __str__(self) -> str:
        return f"t1_{self.position}_{self.typing}{'_t' if self.typists else ''}"

    @classmethod
    def parse(cls, text: str, parameter: str = "since") -> SyncToken:
        """Raises `InvalidParam` for what is no token of `/sync`."""
        match = _SYNC.fullmatch(text)
        if match is None:
            raise InvalidParam(f"{parameter}: {text!r:.60} is no token of this server")
        return cls(int(match[1]), int(match[2]), match[3] is not None)


@attrs.frozen
class TimelineStart:
    """Where a timeline of `/sync` begins: `place` is that before its first event.

    A timeline follows positions, pages follow the order of the room. So what comes before it is all that has
    a position up to that of `place`, where some of it may stand further on in the room than `place`.
    """

    place: Place

    def __str__(self) -> str:
        return f"s1_{self.place.topo}_{self.place.position}"


def place_token(place: Place) -> str:
    """The token of a place in the order of a room, as `/messages` gives and takes it."""
    return f"p1_{place.topo}_{place.position}"


def parse_paging_token(text: str, parameter: str) -> Place | TimelineStart | SyncToken:
    """What `text` names: a place in a room, a timeline's start, or by a token of `/sync` a room's end then.

    Raises `InvalidParam`.
    """
    match = _PLACE.fullmatch(text)
    if match is None:
        return SyncToken.parse(text, parameter)
    place = Place(int(match[2]), int(match[3]))
    if abs(place.topo) > _LARGEST or abs(place.position) > _LARGEST:
        raise InvalidParam(f"{parameter}: {text!r:.60} is no token of this server")
    return place if match[1] == "p" else TimelineStart(place)
