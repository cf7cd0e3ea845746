# SPDX-License-Identifier: Apache-2.0
"""Why a connection failed, in one line for people."""

from __future__ import annotations

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

_LONGEST = 200  # characters


def reason_of(error: BaseException) -> str:
    """What `error`, of twisted or OpenSSL, says; without line breaks and never long."""
    return printable(_text_of(error))


def printable(text: str) -> str:
    """`text` on one line, cut to a length that a log can bear."""
    line = "".join(character if character.isprintable() else " " for character in text[: _LONGEST + 1])
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"


def _text_of(error: BaseException) -> str:
    if isinstance(error, ResponseFailed):
        causes = [each.value for each in error.reasons if isinstance(each, Failure) and each.value]
        return _text_of(causes[0]) if causes else "the answer is not HTTP"
    if isinstance(error, DeferredTimeout | CancelledError):
        return "it takes too long"
    if isinstance(error, VerificationError):
        return "the certificate is for another name"
    if isinstance(error, SSL.Error):
        return f"TLS fails: {_tls_reason(error)}"
    if isinstance(error, ConnectionDone):
        return "the connection was closed"
    return str(error).rstrip(".") or type(error).__name__


def _tls_reason(error: SSL.Error) -> str:
    """OpenSSL gives a list of (library, function, reason)."""
    if error.args and isinstance(error.args[0], list) and error.args[0]:
        return str(error.args[0][-1][-1])
    return "the connection was closed"
