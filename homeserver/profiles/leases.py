# SPDX-License-Identifier: Apache-2.0
"""Leases on the jobs of profiles: of two processes that run one, the first writes nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from storage.leases import HeldLease, Leases


class JobLeases(Protocol):
    """The leases of this process."""

    async def take(self, name: str) -> Sequence[HeldLease]:
        """Take a lease over from whoever has it; what goes into the units that are written under it.

        Raises `DatabaseError`.
        """

    async def are_held(self, leases: Sequence[HeldLease]) -> bool:
        """Whether nobody has taken them over since. Raises `DatabaseError`."""


class NoLeases:
    """For a process that is the only one."""

    async def take(self, name: str) -> Sequence[HeldLease]:  # noqa: ARG002
        """Nobody else has it."""
        return ()

    async def are_held(self, leases: Sequence[HeldLease]) -> bool:  # noqa: ARG002
        """True."""
        return True


class LeasesOfProcess:
    """For one of several processes."""

    def __init__(self, *, leases: Leases, process: str) -> None:
        self._leases = leases
        self._process = process

    async def take(self, name: str) -> Sequence[HeldLease]:
        """Take a lease over from whoever has it; what goes into the units that are written under it."""
        return (await self._leases.take(name, self._process),)

    async def are_held(self, leases: Sequence[HeldLease]) -> bool:
        """Whether nobody has taken them over since."""
        generations = await self._leases.generations([lease.name for lease in leases])
        return all(generations.get(lease.name) == lease.generation for lease in leases)
