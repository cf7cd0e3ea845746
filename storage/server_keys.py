# SPDX-License-Identifier: Apache-2.0
"""Keys of other servers, and the answers that they came in.

spec: server-server-api, "Retrieving server keys"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from storage.engine.database import Database
from storage.engine.statement import BYTES, INTEGER, TEXT, Batch
from storage.writing import Indexed, Writing

_UPSERT_KEYS = Batch(
    "INSERT INTO server_keys (server_name, key_id, key, valid_until_ts)"
    " SELECT server_name, key_id, key, valid_until_ts FROM v WHERE true"
    " ON CONFLICT (server_name, key_id) DO UPDATE"
    " SET key = excluded.key, valid_until_ts = excluded.valid_until_ts",
    columns={"server_name": TEXT, "key_id": TEXT, "key": BYTES, "valid_until_ts": INTEGER},
)
_DELETE_KEYS = Batch(
    "DELETE FROM server_keys WHERE (server_name, key_id) IN (SELECT server_name, key_id FROM v)",
    columns={"server_name": TEXT, "key_id": TEXT},
)
_UPSERT_DOCUMENT = Batch(
    "INSERT INTO server_key_documents (server_name, fetched_ts, valid_until_ts, document)"
    " SELECT server_name, fetched_ts, valid_until_ts, document FROM v WHERE true"
    " ON CONFLICT (server_name) DO UPDATE SET fetched_ts = excluded.fetched_ts,"
    " valid_until_ts = excluded.valid_until_ts, document = excluded.document",
    columns={"server_name": TEXT, "fetched_ts": INTEGER, "valid_until_ts": INTEGER, "document": BYTES},
)
_KEYS_OF = Batch(
    "SELECT k.server_name, k.key_id, k.key, k.valid_until_ts"
    " FROM v JOIN server_keys k ON k.server_name = v.server_name",
    columns={"server_name": TEXT},
)
_TIMES_OF = Batch(
    "SELECT d.server_name, d.valid_until_ts"
    " FROM v JOIN server_key_documents d ON d.server_name = v.server_name",
    columns={"server_name": TEXT},
)
_DOCUMENTS_OF = Batch(
    "SELECT d.server_name, d.fetched_ts, d.valid_until_ts, d.document"
    " FROM v JOIN server_key_documents d ON d.server_name = v.server_name",
    columns={"server_name": TEXT},
)


@attrs.frozen
class KeptKey:
    """A key of 32 bytes; `valid_until_ts` in milliseconds, also that of a key that has expired."""

    key_id: str
    key: bytes
    valid_until_ts: int


@attrs.frozen
class KeptDocument:
    """The last answer of a server: when it came, until when it counts (milliseconds), its JSON."""

    server_name: str
    fetched_ts: int
    valid_until_ts: int
    document: bytes


@attrs.frozen
class NewServerKeys:
    """Keys of a server that are new or count until another time, and those that are to be forgotten.

    `document`: the answer that they came in, where it is to be kept as the last one.
    """

    server_name: str
    keys: Sequence[KeptKey]
    document: KeptDocument | None = None
    forgotten: Sequence[str] = ()


@attrs.frozen
class KeptKeys:
    """All keys of a server; `valid_until_ts` is that of its last answer, 0 without one."""

    valid_until_ts: int
    keys: Sequence[KeptKey]


def _key_rows(records: Sequence[Indexed[NewServerKeys]]) -> list[tuple[Any, ...]]:
    last = {(r.server_name, key.key_id): key for _, r in records for key in r.keys}
    return [(server, key_id, key.key, key.valid_until_ts) for (server, key_id), key in last.items()]


def _forgotten_rows(records: Sequence[Indexed[NewServerKeys]]) -> list[tuple[Any, ...]]:
    return [
        (server, key_id) for server, key_id in {(r.server_name, k) for _, r in records for k in r.forgotten}
    ]


def _document_rows(records: Sequence[Indexed[NewServerKeys]]) -> list[tuple[Any, ...]]:
    last = {r.server_name: r.document for _, r in records if r.document is not None}
    return [(name, d.fetched_ts, d.valid_until_ts, d.document) for name, d in last.items()]


WRITINGS: tuple[Writing[Any], ...] = (
    Writing(NewServerKeys, _DELETE_KEYS, _forgotten_rows),
    Writing(NewServerKeys, _UPSERT_KEYS, _key_rows),
    Writing(NewServerKeys, _UPSERT_DOCUMENT, _document_rows),
)


class ServerKeys:
    """Reads the keys of other servers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, server_names: Iterable[str]) -> Mapping[str, KeptKeys]:
        """What is known of those of the servers that anything is known of."""
        names = [(name,) for name in set(server_names)]
        if not names:
            return {}
        timed, rows = await self._database.read(
            "server keys", lambda txn: (txn.batch(_TIMES_OF, names), txn.batch(_KEYS_OF, names))
        )
        times: dict[str, int] = dict(timed)
        found: dict[str, list[KeptKey]] = {name: [] for name in times}
        for name, key_id, key, valid_until_ts in rows:
            found.setdefault(name, []).append(KeptKey(key_id, key, valid_until_ts))
        return {name: KeptKeys(times.get(name, 0), keys) for name, keys in found.items()}

    async def documents(self, server_names: Iterable[str]) -> Mapping[str, KeptDocument]:
        """The last answers of those of the servers that have given one."""
        names = [(name,) for name in set(server_names)]
        if not names:
            return {}
        rows = await self._database.read("server key documents", lambda txn: txn.batch(_DOCUMENTS_OF, names))
        return {row[0]: KeptDocument(*row) for row in rows}
