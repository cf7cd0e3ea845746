# SPDX-License-Identifier: Apache-2.0
"""Errors of the command line: one plain line that says what to do, and the exit status 1."""

from __future__ import annotations

from twisted.internet.error import CannotListenError

from federation.errors import MatrixError
from federation.http.ports import ListenerError
from federation.http.tls import CertificateError
from federation.signing_key import SigningKeyError
from homeserver.config.place import ConfigError
from storage.engine.errors import DatabaseError


class Problem(Exception):
    """Something that the operator can mend; `str()` is one line that says how."""


def explained(error: BaseException) -> str | None:
    """One line for an error that the operator can mend; None for one that shows a mistake in Trellis."""
    match error:
        case Problem() | ConfigError() | SigningKeyError() | MatrixError():
            return one_line(error)
        case ListenerError() | CertificateError():
            return one_line(error)
        case CannotListenError():
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            return (
                f"cannot listen on {error.interface or '*'} port {error.port}: {one_line(reason)}; stop what "
                "uses it, or change listeners in the configuration"
            )
        case DatabaseError():
            return f"the database cannot be used: {one_line(error)}"
        case OSError(filename=str() | bytes()):
            return f"{error.filename!s}: {error.strerror or one_line(error)}"
        case _:
            return None


def one_line(error: object) -> str:
    """The text of `error` in one line."""
    return " ".join(str(error).split())
