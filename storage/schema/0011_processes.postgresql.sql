-- compat: 9
-- Several processes that serve one homeserver.

-- Who serves it now. address: where the others reach the process, "host:port". heartbeat: when it was last heard
-- of, by the clock of the database. draining: it hands over what it owns and is about to end.
CREATE TABLE processes (
    process TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    started TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    heartbeat TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    draining BOOLEAN NOT NULL DEFAULT FALSE
);

-- What the others take note of in each commit, in the order of positions: a commit that took the positions
-- base + 1 to upto. records: packed by storage/commits/records.py. Old rows are deleted.
CREATE TABLE commit_log (
    base BIGINT PRIMARY KEY,
    upto BIGINT NOT NULL,
    process TEXT NOT NULL,
    records BYTEA NOT NULL
);
ALTER TABLE commit_log ALTER COLUMN records SET STORAGE EXTERNAL;

-- Work that one process does at a time. generation is raised whenever another takes it over, and is asked for
-- by what the work writes.
CREATE TABLE leases (
    lease BYTEA PRIMARY KEY,
    process TEXT NOT NULL,
    generation BIGINT NOT NULL
);

-- What the processes know each other by: made when the first of them starts.
CREATE TABLE secrets (
    secret TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);
