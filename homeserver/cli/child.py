# SPDX-License-Identifier: Apache-2.0
"""One of several processes that serve a homeserver, as seen from inside: its place, and its parent.

The parent hands the place over in the environment, and descriptors beginning with 3: a pipe for the word that
the process is ready, a pipe that the parent holds as long as it lives, a file in which all count their
connections, and the listening sockets.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any

import attrs
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from federation.http.connection_shares import ConnectionShares
from homeserver.cli.problem import Problem

VARIABLE = "TRELLIS_CHILD"
READY = 3
LIFELINE = 4
SHARES = 5
FIRST_SOCKET = 6


@attrs.frozen
class Place:
    """Which of the processes this is.

    `process` is its id in the table of processes, new with each start. `number` counts from 1, and a process
    that is started in the place of another has its number. `sockets`: the descriptors of the sockets that
    listen already, by the index of their listener in the configuration. `shares`: by what the processes share
    the connections evenly.
    """

    process: str
    number: int
    sockets: Mapping[int, tuple[int, ...]]
    shares: ConnectionShares | None = None


def written_place(place: Place, processes: int) -> str:
    """The value of the environment variable for `place`, which is one of so many."""
    return json.dumps([place.process, place.number, processes, list(place.sockets.items())])


def take_place(environment: MutableMapping[str, str]) -> Place | None:
    """The place that the parent has given this process; None where there is no such parent.

    It is taken out of `environment`, and its descriptors are kept to this process, for the programs that it
    starts. Raises Problem.
    """
    text = environment.pop(VARIABLE, None)
    if text is None:
        return None
    try:
        process, number, processes, sockets = json.loads(text)
        passed = {index: tuple(descriptors) for index, descriptors in sockets}
        for descriptor in itertools.chain((READY, LIFELINE, SHARES), *passed.values()):
            os.set_inheritable(descriptor, False)
        shares = ConnectionShares(SHARES, processes=processes, index=number - 1)
    except (ValueError, TypeError, OSError):
        raise Problem(f"the environment variable {VARIABLE} is for Trellis' own use; unset it") from None
    return Place(process, number, passed, shares)


def tell_ready(addresses: Iterable[str]) -> None:
    """Let the parent know that this process serves, and where. A parent that is gone does not matter here."""
    try:
        os.write(READY, json.dumps(list(addresses)).encode() + b"\n")
        os.close(READY)
    except OSError:
        return


def read_ready(line: bytes) -> list[str]:
    """The addresses in what `tell_ready` wrote."""
    addresses: list[str] = json.loads(line)
    return addresses


@implementer(IReadDescriptor)
class Lifeline:
    """Calls `cut` once, when the parent is gone: nobody would restart or end this process any more."""

    def __init__(self, *, reactor: Any, cut: Callable[[], object]) -> None:
        self._reactor = reactor
        self._cut = cut
        self._ended = False
        reactor.addReader(self)

    def fileno(self) -> int:
        """The descriptor of the pipe."""
        return LIFELINE

    def logPrefix(self) -> str:  # noqa: N802
        """Whom the log names."""
        return type(self).__name__

    def doRead(self) -> None:  # noqa: N802
        """The pipe can be read: the parent never writes, so this is its end."""
        self._end()

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002, N802
        """The pipe is at its end, which some reactors tell this way; or the reactor stops."""
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._reactor.removeReader(self)
            self._cut()
