# SPDX-License-Identifier: Apache-2.0
"""One line per request in the log `trellis.access`, and the id that all log lines of a request share.

A line never holds a query string, since tokens travel in them.
"""

from __future__ import annotations

import itertools
import logging
from contextvars import ContextVar

logger = logging.getLogger("trellis.access")

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The request that the running code works for, such as `PUT-1042`; for log formatters."""

_numbers = itertools.count(1)
_LONGEST_PATH = 512


def next_request_id(method: bytes) -> str:
    """A new request id, unique in this process."""
    return f"{method[:16].decode('ascii', 'replace')}-{next(_numbers)}"


def log_request(
    *,
    method: bytes,
    path: bytes,
    status: int,
    seconds: float,
    length: int,
    requester: str | None,
    client_address: str,
    identifier: str,
) -> None:
    """Write the line; `length` is in bytes as sent, `status` 499 if the client went before the answer."""
    line = (
        f"{method.decode('ascii', 'replace')} {_printable(path)} {status} {seconds * 1000:.1f}ms {length}B "
        f"{requester or '-'} {client_address or '-'} {identifier}"
    )
    # As `logger.info` does, without its search for the calling line, which is always this one.
    logger.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, line, (), None))


def _printable(path: bytes) -> str:
    text = path[:_LONGEST_PATH].decode("ascii", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
