# SPDX-License-Identifier: Apache-2.0
"""The JSON of a room in a sync. spec: client-server-api, "Syncing"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import msgspec

from homeserver.push.unread import RoomUnread
from homeserver.rooms.history import RoomView
from homeserver.rooms.presentation import LookedUp
from homeserver.sync.filter.schema import EventFormat
from homeserver.sync.reader import Reader
from homeserver.sync.summary import Summary
from homeserver.sync.timelines import Timeline
from storage.event import StoredEvent

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_NO_EVENTS = b'{"events":[]}'


@attrs.frozen(kw_only=True)
class Told:
    """A room and what a sync tells of it; all is at hand, so that writing waits for nothing."""

    room_id: str
    view: RoomView
    timeline: Timeline
    state: Sequence[StoredEvent]
    account_data: Sequence[dict[str, Any]] = ()
    ephemeral: Sequence[dict[str, Any]] = ()
    unread: RoomUnread | None = None
    summary: Summary | None = None

    def joined(self, looked_up: LookedUp, reader: Reader) -> bytes:
        """Its member of `rooms.join`."""
        summary = b"{}"
        if self.summary is not None:
            summary = _encode(self.summary.json(reader.requester.user_id))
        unread = self.unread or RoomUnread()
        return b'%b,"ephemeral":%b,%b,"summary":%b}' % (
            self._common(looked_up, reader),
            _encode({"events": self.ephemeral}) if self.ephemeral else _NO_EVENTS,
            _unread(unread, reader.filter.timeline.unread_thread_notifications),
            summary,
        )

    def left(self, looked_up: LookedUp, reader: Reader) -> bytes:
        """Its member of `rooms.leave`."""
        return self._common(looked_up, reader) + b"}"

    def _common(self, looked_up: LookedUp, reader: Reader) -> bytes:
        timeline = self.timeline
        return (
            b'%b:{"timeline":{"events":[%b],"limited":%b,"prev_batch":"%b"},"state":{"events":[%b]},'
            b'"account_data":%b'
        ) % (
            _encode(self.room_id),
            b",".join(self._events(timeline.events, looked_up, reader)),
            b"true" if timeline.limited else b"false",
            timeline.prev_batch(reader.upto).encode(),
            b",".join(self._events(self.state, looked_up, reader)),
            _encode({"events": self.account_data}) if self.account_data else _NO_EVENTS,
        )

    def _events(self, events: Sequence[StoredEvent], looked_up: LookedUp, reader: Reader) -> Sequence[bytes]:
        if not events:
            return ()
        rendered = looked_up.render(
            events,
            self.view,
            with_room_id=False,
            federation_format=reader.filter.event_format is EventFormat.FEDERATION,
        )
        fields = reader.filter.event_fields
        if fields is None:
            return rendered
        return [_encode(fields.of(_decode(event))) for event in rendered]


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
