# SPDX-License-Identifier: Apache-2.0
"""Jobs: work over several units, stored so that a restart resumes it."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from storage.engine.database import Database
from storage.engine.statement import BYTES, TEXT, Batch
from storage.writing import Writing, each, last_of_each

_UPSERT = Batch(
    "INSERT INTO jobs (job, kind, state) SELECT job, kind, state FROM v WHERE true"
    " ON CONFLICT (job) DO UPDATE SET state = excluded.state",
    columns={"job": BYTES, "kind": TEXT, "state": BYTES},
)
_DELETE = Batch("DELETE FROM jobs WHERE job IN (SELECT job FROM v)", columns={"job": BYTES})
_ALL = "SELECT job, kind, state FROM jobs ORDER BY job"


@attrs.frozen
class Job:
    """A job of some `kind` and how far it has come; `state` is any JSON value. Written again, it advances."""

    job: str
    kind: str
    state: Any


@attrs.frozen
class EndedJob:
    """A job that is done."""

    job: str


WRITINGS = (
    Writing(
        Job,
        _UPSERT,
        last_of_each(lambda r: r.job, lambda _i, r: (r.job.encode(), r.kind, msgspec.json.encode(r.state))),
    ),
    Writing(EndedJob, _DELETE, each(lambda r: (r.job.encode(),))),
)


class Jobs:
    """Reads the jobs that are not done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def unfinished(self) -> list[Job]:
        """All jobs that have not ended."""
        rows = await self._database.read("jobs", lambda txn: txn.rows(_ALL))
        return [Job(job.decode(), kind, msgspec.json.decode(state)) for job, kind, state in rows]
