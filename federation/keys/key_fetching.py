# SPDX-License-Identifier: Apache-2.0
"""Asking for keys: each server for its own, and key servers (notaries) for those of many at once.

spec: server-server-api, "Retrieving server keys"
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from federation.keys.key_documents import (
    LARGEST_DOCUMENT,
    KeyDocument,
    UnusableKeyDocument,
    check_notary,
    read_key_document,
)
from federation.keys.pauses import Pauses
from federation.rules.errors import RuleError
from federation.rules.key_validity import PublishedKey
from federation.transport.errors import PeerError
from storage.runtime.clock import Clock, milliseconds

logger = logging.getLogger(__name__)

_DIRECT_SECONDS = 15.0
_QUERY_SECONDS = 30.0

_SERVERS_OF_A_QUERY = 50
_LARGEST_QUERY_ANSWER = 4 * 1024 * 1024
_MOST_DOCUMENTS = 4 * _SERVERS_OF_A_QUERY
"""Answers of servers that are looked at in that of a key server: it may have several of each."""

Wanted = Mapping[str, Mapping[str, int]]
"""Servers, of each the ids of the keys, of each the time until which it is to count, in milliseconds."""


class KeyClient(Protocol):
    """The part of the client for peers that keys need. Both raise `PeerError`."""

    async def get(self, destination: str, path: str, *, timeout: float, largest: int) -> Any:
        """The decoded JSON of an answer of at most `largest` bytes."""

    async def post(
        self,
        destination: str,
        path: str,
        *,
        content: Mapping[str, Any],
        timeout: float,
        largest: int,
    ) -> Any:
        """The same, for a request with a body."""


@attrs.frozen
class KeyServer:
    """A server that is asked for the keys of others.

    Its answers count when they are signed with one of `verify_keys` (key id → 32 bytes); without any, with
    one of the keys that it publishes itself, for which its certificate stands.
    """

    server_name: str
    verify_keys: Mapping[str, bytes] = attrs.field(factory=dict)


class KeyFetching:
    """Gets answers with keys and checks them."""

    def __init__(self, *, client: KeyClient, key_servers: Sequence[KeyServer], clock: Clock) -> None:
        self._client = client
        self._key_servers = key_servers
        self._clock = clock
        self._pauses = Pauses(after_success=0, shortest=30, longest=600)
        self._published: dict[str, Mapping[str, PublishedKey]] = {}

    async def directly(self, server_name: str) -> KeyDocument | None:
        """What the server itself says; None where it says nothing that can be used."""
        try:
            answer = await self._client.get(
                server_name, "/_matrix/key/v2/server", timeout=_DIRECT_SECONDS, largest=LARGEST_DOCUMENT
            )
            return read_key_document(answer, server_name, milliseconds(self._clock))
        except (PeerError, RuleError, UnusableKeyDocument) as error:
            logger.info("No keys from %s itself: %s", server_name, error)
            return None

    async def from_key_server(self, index: int, wanted: Wanted) -> list[KeyDocument] | None:
        """What the key server with this index says of these servers; None: there is none with this index.

        Servers of which it says nothing that can be used are missing; of one there may be several answers.
        """
        if index >= len(self._key_servers):
            return None
        key_server = self._key_servers[index]
        name = key_server.server_name
        names = [server for server in wanted if server != name]
        if not names or not self._pauses.lets_ask(name, self._clock.seconds()):
            return []
        keys = await self._keys_of(key_server)
        found: list[KeyDocument] = []
        for start in range(0, len(names), _SERVERS_OF_A_QUERY):
            chunk = {server: wanted[server] for server in names[start : start + _SERVERS_OF_A_QUERY]}
            answer = await self._query(name, chunk) if keys else None
            if answer is None:
                self._pauses.failed(name, self._clock.seconds())
                return found
            found += self._believed(answer, name, keys, chunk)
        self._pauses.succeeded(name, self._clock.seconds())
        return found

    async def _keys_of(self, key_server: KeyServer) -> Mapping[str, bytes]:
        """The keys that a key server's answers must be signed with; none where they cannot be got."""
        if key_server.verify_keys:
            return key_server.verify_keys
        name = key_server.server_name
        now = milliseconds(self._clock)
        valid = _valid(self._published.get(name, {}), now)
        if not valid and (document := await self.directly(name)) is not None:
            self._published[name] = document.keys
            valid = _valid(document.keys, now)
        return valid

    async def _query(self, key_server: str, wanted: Wanted) -> list[Any] | None:
        criteria = {
            server: {key_id: {"minimum_valid_until_ts": until} for key_id, until in keys.items()}
            for server, keys in wanted.items()
        }
        try:
            answer = await self._client.post(
                key_server,
                "/_matrix/key/v2/query",
                content={"server_keys": criteria},
                timeout=_QUERY_SECONDS,
                largest=_LARGEST_QUERY_ANSWER,
            )
        except (PeerError, RuleError) as error:
            logger.info("No keys from the key server %s: %s", key_server, error)
            return None
        documents = answer.get("server_keys") if isinstance(answer, dict) else None
        if not isinstance(documents, list):
            logger.info("No keys from the key server %s: its answer has no server_keys", key_server)
            return None
        return documents[:_MOST_DOCUMENTS]

    def _believed(
        self, answer: Sequence[Any], key_server: str, keys: Mapping[str, bytes], wanted: Wanted
    ) -> list[KeyDocument]:
        """Those answers of wanted servers that both they and the key server have signed."""
        found = []
        for document in answer:
            name = document.get("server_name") if isinstance(document, dict) else None
            if not isinstance(name, str) or name not in wanted:
                continue
            try:
                check_notary(document, key_server, keys)
                found.append(read_key_document(document, name, milliseconds(self._clock)))
            except UnusableKeyDocument as error:
                logger.info("Keys of %s from %s are not taken: %s", name, key_server, error)
        return found


def _valid(keys: Mapping[str, PublishedKey], now_ms: int) -> dict[str, bytes]:
    return {key_id: key.key for key_id, key in keys.items() if key.valid_until_ts >= now_ms}
