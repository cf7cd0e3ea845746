# SPDX-License-Identifier: Apache-2.0
"""The keys of all servers: in memory, in the database, or to be fetched.

spec: server-server-api, "Retrieving server keys"
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults

from federation.keys.key_documents import KeyDocument, OwnKeys
from federation.keys.key_fetching import KeyFetching, Wanted
from federation.keys.known_keys import KnownKeys, learn
from federation.keys.pauses import Pauses
from federation.rules.key_validity import PublishedKey
from storage.engine.errors import DatabaseError
from storage.persist import Unit
from storage.runtime.background import BackgroundTasks
from storage.runtime.caches import Cache, cache_of_bytes
from storage.runtime.clock import Clock, milliseconds
from storage.server_keys import KeptDocument, KeptKey, KeptKeys, NewServerKeys, ServerKeys
from storage.write_queue import QueueFull, WriteQueue

logger = logging.getLogger(__name__)

_MEMORY_BYTES = 16 * 1024 * 1024
_BYTES_OF_A_KEY = 320
_BYTES_OF_A_SERVER = 600

_AT_ONCE = 20
"""Servers that are asked directly at the same time."""

_FEW = 3
"""So many servers are asked themselves first; for more, the key servers are, which know many at once."""


@attrs.frozen
class WantedKey:
    """A key of a server that is to count at `valid_at` in milliseconds (None: whenever)."""

    server_name: str
    key_id: str
    valid_at: int | None


@attrs.frozen
class _Asking:
    """Servers that are being asked: what they still lack, what is known of them, which gave something, and
    for which nobody waits any more."""

    lacking: dict[str, Mapping[str, int | None]]
    known: dict[str, KnownKeys] = attrs.field(factory=dict)
    got: set[str] = attrs.field(factory=set)
    settled: set[str] = attrs.field(factory=set)


class KeyRing:
    """Finds keys of servers. One that is known and counts long enough is never fetched again.

    Whoever asks for keys of a server that is being asked waits for that answer. A server that was asked is
    left alone for a minute, one that fails for up to ten, whatever is wanted of it.
    """

    def __init__(
        self,
        *,
        own: OwnKeys,
        store: ServerKeys,
        queue: WriteQueue,
        fetching: KeyFetching,
        background: BackgroundTasks,
        clock: Clock,
    ) -> None:
        self._own = own
        self._store = store
        self._queue = queue
        self._fetching = fetching
        self._background = background
        self._clock = clock
        self._memory: Cache[str, KnownKeys] = cache_of_bytes(_MEMORY_BYTES, _size)
        self._pauses = Pauses(after_success=60, shortest=60, longest=600)
        self._under_way: dict[str, list[Deferred[None]]] = {}
        self._at_once = DeferredSemaphore(_AT_ONCE)

    @property
    def caches(self) -> Mapping[str, Cache[Any, Any]]:
        """The caches, for metrics."""
        return {"server_keys": self._memory}

    async def keys_of(
        self, server_name: str, key_ids: Collection[str], *, valid_at: int | None
    ) -> Mapping[str, PublishedKey]:
        """Those of the keys that are known, after a fetch where one is missing or does not count then.

        Keys that do not count at `valid_at` are among them: whoever uses them looks at their validity.
        Raises `DatabaseError`.
        """
        wanted = dict.fromkeys(key_ids, valid_at)
        known = self._memory.get(server_name)
        if known is None or server_name == self._own.server_name or not known.serves(wanted):
            known = (await self._known({server_name: wanted}))[server_name]
        return {key_id: known.keys[key_id] for key_id in wanted if key_id in known.keys}

    async def keys_for(self, wanted: Iterable[WantedKey]) -> Mapping[str, Mapping[str, PublishedKey]]:
        """The same for many servers: server → key id → key. Each server is asked once at most."""
        by_server: dict[str, dict[str, int | None]] = {}
        for one in wanted:
            keys = by_server.setdefault(one.server_name, {})
            before = keys.get(one.key_id)
            keys[one.key_id] = before if one.valid_at is None else max(before or 0, one.valid_at)
        known = await self._known(by_server)
        return {
            server: {key_id: known[server].keys[key_id] for key_id in keys if key_id in known[server].keys}
            for server, keys in by_server.items()
        }

    async def refresh(self, server_names: Collection[str]) -> None:
        """Ask these servers themselves, as far as they may be asked now, and wait for it."""
        await self._remember(server_names)
        await self._fetch({name: {} for name in server_names if name != self._own.server_name}, direct=True)

    async def _known(self, wanted: Mapping[str, Mapping[str, int | None]]) -> Mapping[str, KnownKeys]:
        """What is known of these servers after what is lacking was fetched, as far as it could be."""
        known = await self._remember(wanted)
        lacking = {
            server: keys
            for server, keys in wanted.items()
            if server != self._own.server_name and not known[server].serves(keys)
        }
        if not lacking:
            return known
        await self._fetch(lacking, direct=False)
        # Not from memory alone: more may have been fetched than it holds.
        return {**known, **await self._remember(lacking)}

    async def _remember(self, server_names: Iterable[str]) -> dict[str, KnownKeys]:
        """What memory and database know."""
        found: dict[str, KnownKeys] = {}
        missing = []
        for name in server_names:
            if name == self._own.server_name:
                found[name] = KnownKeys(keys=self._own.published(milliseconds(self._clock)))
            elif (known := self._memory.get(name)) is not None:
                found[name] = known
            else:
                missing.append(name)
        if missing:
            kept = await self._store.of(missing)
            for name in missing:
                # What was fetched meanwhile is newer than what was read.
                known = self._memory.get(name)
                if known is None:
                    known = _known_of(kept[name]) if name in kept else KnownKeys()
                    if name in kept:
                        self._memory[name] = known
                found[name] = known
        return found

    async def _fetch(self, wanted: Mapping[str, Mapping[str, int | None]], *, direct: bool) -> None:
        """Fetch what may be asked for, and wait for what is being fetched already."""
        now = self._clock.seconds()
        asked: dict[str, Mapping[str, int | None]] = {}
        answers = []
        for server, keys in wanted.items():
            waiting = self._under_way.get(server)
            if waiting is None:
                if not self._pauses.lets_ask(server, now):
                    continue
                waiting = self._under_way[server] = []
                asked[server] = keys
            answer: Deferred[None] = Deferred()
            waiting.append(answer)
            answers.append(answer)
        if asked:
            self._background.spawn("keys of servers", self._ask(asked, direct=direct))
        for answer in answers:
            await answer

    async def _ask(self, wanted: Mapping[str, Mapping[str, int | None]], *, direct: bool) -> None:
        asking = _Asking(lacking=dict(wanted))
        try:
            # Memory may drop a server while it is asked.
            asking.known.update(await self._remember(wanted))
            if direct or len(wanted) <= _FEW:
                await self._ask_themselves(asking)
                if not direct:
                    await self._ask_key_servers(asking)
            else:
                await self._ask_key_servers(asking)
                await self._ask_themselves(asking)
        finally:
            for server in wanted:
                self._settle(server, asking)

    def _settle(self, server: str, asking: _Asking) -> None:
        """Let those go on who wait for this server."""
        if server in asking.settled:
            return
        asking.settled.add(server)
        if server in asking.got:
            self._pauses.succeeded(server, self._clock.seconds())
        else:
            self._pauses.failed(server, self._clock.seconds())
        for answer in self._under_way.pop(server, ()):
            if not answer.called:
                answer.callback(None)

    async def _ask_themselves(self, asking: _Asking) -> None:
        """Ask the servers themselves."""

        async def ask(server: str) -> None:
            document = await self._fetching.directly(server)
            if document is not None:
                await self._take(document, asking, direct=True)
                if server not in asking.lacking:
                    self._settle(server, asking)

        def begin(server: str) -> Deferred[None]:
            return Deferred.fromCoroutine(ask(server))

        await gatherResults([self._at_once.run(begin, server) for server in list(asking.lacking)])

    async def _ask_key_servers(self, asking: _Asking) -> None:
        """Ask one key server after the other for what is still lacking."""
        index = 0
        while asking.lacking:
            documents = await self._fetching.from_key_server(index, _with_times(asking.lacking))
            if documents is None:
                return
            for document in sorted(documents, key=lambda one: one.valid_until_ts):
                await self._take(document, asking, direct=False)
            index += 1

    async def _take(self, document: KeyDocument, asking: _Asking, *, direct: bool) -> None:
        """Keep what an answer says."""
        server = document.server_name
        learned = learn(self._memory.get(server) or asking.known[server], document, direct=direct)
        self._memory[server] = asking.known[server] = learned.known
        asking.got.add(server)
        if server in asking.lacking and learned.known.serves(asking.lacking[server]):
            del asking.lacking[server]
        kept = None
        if learned.is_latest:
            now = milliseconds(self._clock)
            kept = KeptDocument(server, now, document.valid_until_ts, document.content)
        record = NewServerKeys(
            server,
            [KeptKey(key_id, key.key, key.valid_until_ts) for key_id, key in learned.changed.items()],
            kept,
            sorted(learned.forgotten),
        )
        await self._write(record)

    async def _write(self, record: NewServerKeys) -> None:
        try:
            await self._queue.submit(Unit(records=[record]))
        except (DatabaseError, QueueFull) as error:
            logger.warning("Keys of %s are not kept: %s", record.server_name, error)


def _with_times(lacking: Mapping[str, Mapping[str, int | None]]) -> Wanted:
    # Where any validity will do, a key that has expired long ago is wanted as well.
    return {
        server: {key_id: 0 if at is None else at for key_id, at in keys.items()}
        for server, keys in lacking.items()
    }


def _known_of(kept: KeptKeys) -> KnownKeys:
    keys: Sequence[KeptKey] = kept.keys
    return KnownKeys(
        kept.valid_until_ts, {key.key_id: PublishedKey(key.key, key.valid_until_ts) for key in keys}
    )


def _size(known: KnownKeys) -> int:
    return _BYTES_OF_A_SERVER + _BYTES_OF_A_KEY * len(known.keys)
