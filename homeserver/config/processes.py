# SPDX-License-Identifier: Apache-2.0
"""Several processes that serve one homeserver."""

from __future__ import annotations

import ipaddress

import attrs

from homeserver.config.addresses import BindAddress
from homeserver.config.keys import RecordOf, key, optional
from homeserver.config.kinds import Boolean, Integer
from homeserver.config.place import Place


@attrs.frozen(kw_only=True)
class ProcessesKeys:
    """How this process works together with others."""

    enabled: bool = key(
        Boolean(),
        """Whether other processes, on this machine or on others, serve the same homeserver on the same
        PostgreSQL database. `trellis run --processes` does not need it.""",
        default=False,
    )
    address: str | None = optional(
        BindAddress(),
        """The address of this machine at which the other processes reach this one. It must be private: what
        they tell each other is authenticated, and not encrypted. Without it, the address from which this
        machine reaches the database.""",
        example="10.0.0.5",
    )
    port: int = key(Integer(maximum=65535), """The port there. 0: any that is free.""", default=0)

    def check(self, at: Place) -> None:
        """The others need one address to reach this process at."""
        if self.address is not None and ipaddress.ip_address(self.address).is_unspecified:
            raise at.child("address").error("all addresses are none that others can connect to, expected one")


@attrs.frozen(kw_only=True)
class ProcessesConfig:
    """Several processes."""

    processes: ProcessesKeys = key(
        RecordOf(ProcessesKeys), """Several processes that serve one homeserver.""", default={}
    )
