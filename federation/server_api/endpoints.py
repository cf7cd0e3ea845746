# SPDX-License-Identifier: Apache-2.0
"""All endpoints of the server-server API."""

from __future__ import annotations

from federation.http.endpoint import Endpoint
from federation.keys.key_documents import OwnKeys
from federation.keys.notary import Notary
from federation.server_api.publishing_keys import PublishingKeys
from federation.server_api.version import ServerVersion
from storage.runtime.clock import Clock


def server_api_endpoints(
    *, own_keys: OwnKeys, notary: Notary, clock: Clock, version: str
) -> tuple[Endpoint, ...]:
    """The endpoints for the resource `federation`; `version` is that of the program."""
    return (
        *PublishingKeys(own=own_keys, notary=notary, clock=clock).endpoints(),
        *ServerVersion(version).endpoints(),
    )
