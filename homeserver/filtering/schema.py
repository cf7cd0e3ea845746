# SPDX-License-Identifier: Apache-2.0
"""Filters as clients write them. A member that is null counts as absent.

spec: client-server-api, "Filtering"; data: sync_filter, event_filter, room_event_filter
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

import attrs
import msgspec

from federation.errors import BadJson, MatrixError, NotJson, TooLarge

MAX_SIZE: Final = 65_536
"""The largest filter that is read, in bytes of JSON."""

UserId = Annotated[str, msgspec.Meta(pattern="^@")]
RoomId = Annotated[str, msgspec.Meta(pattern="^!")]
Patterns = Annotated[tuple[str, ...], msgspec.Meta(max_length=500)]
Fields = Annotated[tuple[str, ...], msgspec.Meta(max_length=500)]
# COMPAT: the specification wants a limit above 0. Clients that want no events at first ask for 0.
Limit = Annotated[int, msgspec.Meta(ge=0)]

T = TypeVar("T")


class EventFormat(StrEnum):
    """In which form events are wanted."""

    CLIENT = "client"
    FEDERATION = "federation"


@attrs.frozen(kw_only=True)
class EventFilter:
    """Which events are wanted. A list that is None does not restrict them, an empty one wants none."""

    limit: Limit | None = None
    types: Patterns | None = None
    not_types: Patterns | None = None
    senders: tuple[UserId, ...] | None = None
    not_senders: tuple[UserId, ...] | None = None


@attrs.frozen(kw_only=True)
class RoomEventFilter(EventFilter):
    """Which events of rooms are wanted."""

    rooms: tuple[RoomId, ...] | None = None
    not_rooms: tuple[RoomId, ...] | None = None
    contains_url: bool | None = None
    lazy_load_members: bool | None = None
    include_redundant_members: bool | None = None
    unread_thread_notifications: bool | None = None
    # COMPAT: not in the specification; clients ask for the roots of threads with them.
    related_by_senders: tuple[UserId, ...] | None = None
    related_by_rel_types: tuple[str, ...] | None = None


@attrs.frozen(kw_only=True)
class RoomFilter:
    """What is wanted of which rooms."""

    rooms: tuple[RoomId, ...] | None = None
    not_rooms: tuple[RoomId, ...] | None = None
    include_leave: bool | None = None
    timeline: RoomEventFilter | None = None
    state: RoomEventFilter | None = None
    ephemeral: RoomEventFilter | None = None
    account_data: RoomEventFilter | None = None


@attrs.frozen(kw_only=True)
class SyncFilter:
    """A whole filter, as it is uploaded and given to `/sync`."""

    event_fields: Fields | None = None
    event_format: EventFormat | None = None
    presence: EventFilter | None = None
    account_data: EventFilter | None = None
    room: RoomFilter | None = None


def read_json(json: bytes | Mapping[str, Any], kind: type[T]) -> T:
    """Read JSON text or a JSON object as one of these records.

    Raises `NotJson` for what is no JSON, `TooLarge`, and `BadJson` with the name of the member that is wrong.
    """
    text = json if isinstance(json, bytes) else msgspec.json.encode(json)
    if len(text) > MAX_SIZE:
        raise TooLarge(f"A filter must not be larger than {MAX_SIZE} bytes")
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise _shape_error(text, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NotJson("The filter is no JSON") from None
    except RecursionError:
        raise BadJson("The filter is nested too deeply") from None


def _shape_error(text: bytes, message: str) -> MatrixError:
    try:
        msgspec.json.decode(text)
    except msgspec.ValidationError:
        pass  # a number that is out of range
    except (msgspec.DecodeError, UnicodeDecodeError):  # what is no JSON may begin with a wrong shape
        return NotJson("The filter is no JSON")
    except RecursionError:
        return BadJson("The filter is nested too deeply")
    reason, _, place = message.partition(" - at `$")
    return BadJson(f"filter{place.rstrip('`')}: {reason}")
