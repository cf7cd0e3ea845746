# SPDX-License-Identifier: Apache-2.0
"""Notices over LISTEN and NOTIFY of the PostgreSQL database that the processes share."""

from __future__ import annotations

import logging
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from storage.engine.postgres_connections import connection_parameters
from storage.notices import packing
from storage.notices.notice_counts import NoticeCounts
from storage.notices.notices import Hear, Notice, merged, without_entry
from storage.notices.postgres_line import PostgresLine, open_line
from storage.notices.reconnection import MediumAway, Reconnection

logger = logging.getLogger(__name__)

# A notice is a transaction of its own that writes nothing but the notice: it need not wait for the disk.
_SET_UP = "SET synchronous_commit = off; LISTEN trellis"
_NOTIFY = "SELECT pg_notify('trellis', %s)"

_CONNECT_SECONDS = 5.0

# The first letter is the version of the format: `b` has an entry.
_PAYLOAD = re.compile(r"a([0-9]{1,18})(p?)", re.ASCII)
_WITH_ENTRY = "b"

LARGEST_PAYLOAD = 7999
"""Bytes. PostgreSQL takes no more."""


def payload_of(notice: Notice) -> str:
    """The text that says `notice`; its entry is left out where it is too large."""
    entry = notice.entry
    if entry is not None and len(entry.records) + len(entry.events or b"") < LARGEST_PAYLOAD:
        payload = _WITH_ENTRY + b2a_base64(packing.message_of(notice), newline=False).decode()
        if len(payload) <= LARGEST_PAYLOAD:
            return payload
    bare = without_entry(notice)
    return f"a{bare.upto}{'p' if bare.processes else ''}"


def notice_of(payload: str) -> Notice | None:
    """What a payload says; None: it is none of this version's."""
    if payload.startswith(_WITH_ENTRY):
        try:
            return packing.notice_of(a2b_base64(payload[len(_WITH_ENTRY) :]))
        except ValueError:
            return None
    read = _PAYLOAD.fullmatch(payload)
    return None if read is None else Notice(upto=int(read[1]), processes=bool(read[2]))


def _seconds(connect_timeout: object) -> float:
    """How long an attempt to connect may take, where libpq would wait for ever too."""
    text = str(connect_timeout).strip()
    return float(text) if text.isdecimal() and int(text) > 0 else _CONNECT_SECONDS


class PostgresNotices:
    """Notices over one connection of their own, beside those of the database's threads.

    One message is on its way at a time; notices that gather meanwhile go together in the next one, without
    their entries. An entry that goes alone goes with its notice if it is small: a commit of a few messages,
    of which there may be many, so need not be read by every process.
    """

    carries_entries = True
    carries_all_entries = False

    def __init__(
        self, *, arguments: Mapping[str, str | int], reactor: Any, counts: NoticeCounts | None = None
    ) -> None:
        """`arguments` are those of `psycopg2.connect`."""
        self._parameters = connection_parameters(arguments)
        self._parameters["application_name"] = f"{self._parameters['application_name']} notices"
        self._reactor = reactor
        self._counts = counts or NoticeCounts()
        self._reconnection: Reconnection[PostgresLine] | None = None
        self._gathered: Notice | None = None
        self._gathered_count = 0
        self._sending: Deferred[None] | None = None

    async def start(self, hear: Hear) -> None:
        """Connect in the background and stay connected."""
        self._reconnection = Reconnection(
            medium="PostgreSQL",
            connect=self._connect,
            seconds=_seconds(self._parameters["connect_timeout"]),
            hear=hear,
            reactor=self._reactor,
            counts=self._counts,
        )

    def tell(self, notice: Notice) -> None:
        """Send `notice`, or drop it while the server is away."""
        self._counts.told += 1
        line = self._reconnection.line if self._reconnection is not None else None
        if line is None:
            self._counts.dropped += 1
            return
        self._gathered = notice if self._gathered is None else merged(self._gathered, notice)
        self._gathered_count += 1
        if self._sending is None:
            self._sending = Deferred.fromCoroutine(self._send(line))
            self._sending.addErrback(self._failed).addBoth(self._sent)

    async def stop(self) -> None:
        """Close the connection."""
        reconnection, self._reconnection = self._reconnection, None
        if reconnection is not None:
            await reconnection.stop()

    async def _connect(self) -> PostgresLine:
        line = await open_line(self._parameters, hear=self._heard, reactor=self._reactor)
        try:
            await line.run(_SET_UP)
        except BaseException:
            await line.close()
            raise
        return line

    async def _send(self, line: PostgresLine) -> None:
        while self._gathered is not None:
            notice, count = self._gathered, self._gathered_count
            self._gathered, self._gathered_count = None, 0
            try:
                await line.run(_NOTIFY, (payload_of(notice),))
            except MediumAway:  # the line is lost, which is logged
                self._counts.dropped += count + self._gathered_count
                self._gathered, self._gathered_count = None, 0
                return
            self._counts.sent += 1

    def _failed(self, failure: Any) -> None:
        logger.error("Notices could not be sent\n%s", failure.getTraceback())

    def _sent(self, _result: Any) -> None:
        self._sending = None

    def _heard(self, payload: str) -> None:
        if self._reconnection is not None:
            self._reconnection.hear_message(notice_of(payload), "trellis of PostgreSQL", payload)
