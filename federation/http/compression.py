# SPDX-License-Identifier: Apache-2.0
"""gzip for answers, where the client takes it and it is worth the time."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

SMALLEST = 1024
"""Bytes from which on compressing pays."""

_LEVEL = 1
_GZIP = 16
# Setting up zlib's default window takes 50 microseconds, this one 9; small bodies come out no larger.
_SMALL_BODY = 16 * 1024
_SMALL_WINDOW = _GZIP + 12
_SMALL_MEMORY = 6
_ACCEPTED = re.compile(
    rb"(?:^|,)\s*(?:x-)?(?:gzip|\*)\s*(?:;\s*q\s*=\s*(?P<quality>[0-9.]*)\s*)?(?:,|$)", re.I
)


def accepts_gzip(accept_encoding: Sequence[bytes]) -> bool:
    """Whether the `Accept-Encoding` headers allow gzip."""
    for value in accept_encoding:
        if b"gzip" in value and b";" not in value:
            return True
        found = _ACCEPTED.search(value)
        if found is not None:
            return (found["quality"] or b"1").strip(b"0.") != b""
    return False


def compress(body: bytes) -> bytes:
    """`body` in gzip format."""
    compressor = _small_compressor() if len(body) <= _SMALL_BODY else stream_compressor()
    return compressor.compress(body) + compressor.flush()


def stream_compressor() -> zlib._Compress:
    """A compressor for a body that comes in parts."""
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP + zlib.MAX_WBITS)


def _small_compressor() -> zlib._Compress:
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, _SMALL_WINDOW, _SMALL_MEMORY)
