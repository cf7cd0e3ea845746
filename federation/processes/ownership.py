# SPDX-License-Identifier: Apache-2.0
"""Who owns a name (a room id, a user id): the one process that does what must be done in one place."""

from __future__ import annotations

from typing import Protocol

import attrs


@attrs.frozen
class Peer:
    """Another process of this homeserver, and where it can be reached: "host:port"."""

    process: str
    address: str


class Ownership(Protocol):
    """Who owns a name, as far as this process knows."""

    def owner_of(self, name: str) -> Peer | None:
        """The other process that owns `name`; None where it is this one. Cheap, and never waits."""


class Alone:
    """The ownership of a process that is the only one: it owns everything."""

    def owner_of(self, name: str) -> Peer | None:  # noqa: ARG002
        """None: this process."""
        return None
