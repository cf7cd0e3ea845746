# SPDX-License-Identifier: Apache-2.0
"""Notices with their log entries as bytes, for media that carry them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from storage.commits.log import LogEntry
from storage.notices.notices import Notice, without_entry

# A larger entry is read from the database; Redis ends subscribers for whom more than some MiB gather.
LARGEST_ENTRY = 4 * 1024 * 1024

_VERSION = b"\x01"
_Position = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Entry(msgspec.Struct, array_like=True, frozen=True):
    base: _Position
    upto: _Position
    process: str
    records: bytes
    events: bytes | None


class _Message(msgspec.Struct, array_like=True, frozen=True):
    upto: _Position
    processes: bool
    entry: _Entry | None


_decoder = msgspec.msgpack.Decoder(_Message)
_encoder = msgspec.msgpack.Encoder()


def message_of(notice: Notice) -> bytes:
    """The bytes that say `notice`: the version of the format, then MessagePack."""
    entry = notice.entry
    if entry is not None and len(entry.records) + len(entry.events or b"") > LARGEST_ENTRY:
        return message_of(without_entry(notice))
    packed = None
    if entry is not None:
        packed = _Entry(entry.base, entry.upto, entry.process, entry.records, entry.events)
    return _VERSION + _encoder.encode(_Message(notice.upto, notice.processes, packed))


def notice_of(message: object) -> Notice | None:
    """What a message says; None: it is none of this version's."""
    if not isinstance(message, bytes) or not message.startswith(_VERSION):
        return None
    try:
        read = _decoder.decode(memoryview(message)[len(_VERSION) :])
    except msgspec.DecodeError:
        return None
    entry = read.entry
    if entry is None:
        return Notice(upto=read.upto, processes=read.processes)
    if entry.base >= entry.upto:
        return None
    carried = LogEntry(entry.base, entry.upto, entry.process, entry.records, entry.events)
    return Notice(upto=read.upto, entry=carried, processes=read.processes)
