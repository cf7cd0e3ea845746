# SPDX-License-Identifier: Apache-2.0
"""What the server is called and where it is found."""

from __future__ import annotations

from pathlib import Path

import attrs

from homeserver.config.addresses import ContactUri, HttpUrl, ServerName
from homeserver.config.keys import key, optional, required
from homeserver.config.kinds import Boolean, Integer, PathName


@attrs.frozen(kw_only=True)
class ServerConfig:
    """The server's name and its public face."""

    server_name: str = required(
        ServerName(),
        """The name of this server: the part after the colon in its users' ids (@alice:example.org) and rooms.
        It cannot be changed later.""",
        example="example.org",
    )
    public_baseurl: str | None = optional(
        HttpUrl(),
        """The URL at which clients reach this server from outside. Without it, https:// and the server's
        name.""",
        example="https://matrix.example.org/",
    )
    serve_server_wellknown: bool = key(
        Boolean(),
        """Whether to answer /.well-known/matrix/server so that other servers find this one on port 443.
        It helps where https://<server_name>/ is forwarded to this server.""",
        default=False,
    )
    web_client_location: str | None = optional(
        HttpUrl(),
        """The web client that a browser is sent to when it opens this server's address.""",
        example="https://app.example.org/",
    )
    admin_contact: str | None = optional(
        ContactUri(),
        """How to reach the people who run this server. Clients show it, for example where a limit is
        reached.""",
        example="mailto:admin@example.org",
    )
    pid_file: Path | None = optional(
        PathName(),
        """A file that holds the server's process id while it runs.""",
        example="trellis.pid",
    )
    soft_file_limit: int = key(
        Integer(),
        """How many files and connections the server may have open. 0: as many as the system lets it.""",
        default=0,
    )

    @property
    def client_base_url(self) -> str:
        """The URL at which clients reach the server, with a slash at its end."""
        return self.public_baseurl or f"https://{self.server_name}/"
