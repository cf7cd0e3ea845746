# SPDX-License-Identifier: Apache-2.0
"""The JSON of a room in a sync. spec: client-server-api, "Syncing"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import msgspec

from homeserver.filtering.schema import EventFormat
from homeserver.push.unread import RoomUnread
from homeserver.rooms.presentation import LookedUp
from homeserver.sync.reader import Reader
from homeserver.sync.summary import Summary
from homeserver.sync.timelines import Timeline
from storage.event import StoredEvent

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_EVENTS_IN_PIECE = 200
_NO_EVENTS = b'{"events":[]}'


@attrs.frozen(kw_only=True)
class Told:
    """A room and what a sync tells of it; all is at hand, so that writing waits for nothing.

    `removed` are the emptied events of keys that a resolution took out of the state.
    """

    room: int
    room_id: str
    timeline: Timeline
    state: Sequence[StoredEvent]
    removed: Sequence[dict[str, Any]] = ()
    account_data: Sequence[dict[str, Any]] = ()
    ephemeral: Sequence[dict[str, Any]] = ()
    unread: RoomUnread | None = None
    summary: Summary | None = None

    @property
    def size(self) -> int:
        """How many events it tells of."""
        return len(self.timeline.events) + len(self.state)

    def joined(self, looked_up: LookedUp, reader: Reader) -> Iterator[bytes]:
        """Its member of `rooms.join`, in pieces that are quickly written."""
        yield from self._common(looked_up, reader)
        summary = b"{}"
        if self.summary is not None:
            summary = _encode(self.summary.json(reader.requester.user_id))
        unread = self.unread or RoomUnread()
        yield b',"ephemeral":%b,%b,"summary":%b}' % (
            _encode({"events": self.ephemeral}) if self.ephemeral else _NO_EVENTS,
            _unread(unread, reader.filter.timeline.unread_thread_notifications),
            summary,
        )

    def left(self, looked_up: LookedUp, reader: Reader) -> Iterator[bytes]:
        """Its member of `rooms.leave`, in pieces that are quickly written."""
        yield from self._common(looked_up, reader)
        yield b"}"

    def _common(self, looked_up: LookedUp, reader: Reader) -> Iterator[bytes]:
        timeline = self.timeline
        yield b'%b:{"timeline":{"limited":%b,"prev_batch":"%b","events":[' % (
            _encode(self.room_id),
            b"true" if timeline.limited else b"false",
            timeline.prev_batch(reader.upto).encode(),
        )
        yield from self._events(timeline.events, looked_up, reader)
        yield b']},"state":{"events":['
        yield from self._events(self.state, looked_up, reader)
        if self.removed:
            yield (b"," if self.state else b"") + b",".join(self._of_removed(reader))
        account_data = _encode({"events": self.account_data}) if self.account_data else _NO_EVENTS
        yield b']},"account_data":' + account_data

    def _of_removed(self, reader: Reader) -> list[bytes]:
        fields = reader.filter.event_fields
        return [_encode(event if fields is None else fields.of(event)) for event in self.removed]

    def _events(self, events: Sequence[StoredEvent], looked_up: LookedUp, reader: Reader) -> Iterator[bytes]:
        fields = reader.filter.event_fields
        for i in range(0, len(events), _EVENTS_IN_PIECE):
            rendered = looked_up.render(
                self.room,
                events[i : i + _EVENTS_IN_PIECE],
                with_room_id=False,
                federation_format=reader.filter.event_format is EventFormat.FEDERATION,
            )
            if fields is not None:
                rendered = [_encode(fields.of(_decode(event))) for event in rendered]
            yield (b"," if i else b"") + b",".join(rendered)


def _unread(unread: RoomUnread, by_thread: bool) -> bytes:
    notifications, highlights = unread.notification_count, unread.highlight_count
    if not by_thread:
        notifications, highlights = unread.total()
    main = b'"unread_notifications":{"notification_count":%d,"highlight_count":%d}' % (
        notifications,
        highlights,
    )
    if not by_thread:
        return main
    threads = {
        root: {"notification_count": in_thread[0], "highlight_count": in_thread[1]}
        for root, in_thread in unread.threads.items()
    }
    return b'%b,"unread_thread_notifications":%b' % (main, _encode(threads))
