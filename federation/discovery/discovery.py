# SPDX-License-Identifier: Apache-2.0
"""The steps from a server name to where to connect. spec: server-server-api, "Resolving server names"."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from federation.discovery.srv import SrvLookup
from federation.discovery.target import Target as Target
from federation.discovery.well_known import WellKnown
from federation.rules.identifiers import ServerName, parse_server_name
from federation.transport.errors import ServerNotAllowed, ServerUnreachable

FEDERATION_PORT = 8448


class Discovery:
    """Finds servers. `allowed` are those that may be spoken with, None: all; `own_name` never."""

    def __init__(
        self,
        *,
        own_name: str,
        allowed: Collection[str] | None,
        well_known: WellKnown,
        srv: SrvLookup,
    ) -> None:
        self._own_name = own_name.lower()
        self._allowed = None if allowed is None else frozenset(allowed)
        self._well_known = well_known
        self._srv = srv

    async def targets(self, server_name: str) -> Sequence[Target]:
        """Where the server is, at least one place, in the order in which they are to be tried.

        Raises `InvalidIdentifier`, `ServerNotAllowed` (before anything is asked), `ServerUnreachable`.
        """
        name = parse_server_name(server_name)
        self.check_allowed(server_name)
        # Steps 1 and 2.
        if name.is_ip_literal or name.port is not None:
            return [_direct(name, server_name)]
        delegated = await self._well_known.server_of(name.host)
        if delegated is None:
            # Steps 4 to 6.
            return await self._by_host(name.host, server_name)
        name = parse_server_name(delegated)
        # Steps 3.1 and 3.2.
        if name.is_ip_literal or name.port is not None:
            return [_direct(name, delegated)]
        # Steps 3.3 to 3.5.
        return await self._by_host(name.host, server_name)

    def check_allowed(self, server_name: str) -> None:
        """Raise `ServerNotAllowed` where the server is not to be spoken with."""
        if server_name.lower() == self._own_name:
            raise ServerNotAllowed(server_name, "this is the server's own name")
        if self._allowed is not None and server_name not in self._allowed:
            raise ServerNotAllowed(server_name, "federation_domain_whitelist does not list it")

    async def _by_host(self, host: str, server_name: str) -> Sequence[Target]:
        """By SRV records, else at the port of federation; Host header and certificate are those of `host`."""
        header = host.encode("ascii")
        records = await self._srv.records(host)
        if not records:
            return [Target(host, FEDERATION_PORT, header, host)]
        places = [record for record in records if record.host and record.port]
        if not places:
            raise ServerUnreachable(
                server_name, f"{host} says by its SRV record that it has no Matrix server"
            )
        return [Target(record.host, record.port, header, host) for record in places]

    def close(self) -> None:
        """Stop what is being found out."""
        self._well_known.close()
        self._srv.close()


def _direct(name: ServerName, written: str) -> Target:
    """At the host that the name says: an IP literal with any port, or a host with a port."""
    port = FEDERATION_PORT if name.port is None else name.port
    if not 0 < port < 65536:
        raise ServerUnreachable(written, f"there is no port {port}")
    return Target(name.host, port, written.encode("ascii"), name.host)
