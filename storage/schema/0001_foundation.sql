-- The foundation: counters, interned strings, rooms, events, states.
--
-- Identifiers from outside, types, state keys and JSON are bytes of UTF-8 (BYTES). Strings that recur are
-- interned: a column named room, type, state_key, sender, reader or account holds a number of table strings.

-- position: the last position given. event: the last event number handed out in a block.
-- commit:P and base:P: the number of the last batch that the process P committed, and its base position.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value NUMBER NOT NULL
);
INSERT INTO counters (name, value) VALUES ('position', 0);
INSERT INTO counters (name, value) VALUES ('event', 0);

CREATE TABLE strings (
    string NUMBER PRIMARY KEY,
    value BYTES NOT NULL UNIQUE
);

-- fence: raised by every transaction that extends the room.
CREATE TABLE rooms (
    room NUMBER PRIMARY KEY,
    version TEXT NOT NULL,
    fence NUMBER NOT NULL
);

CREATE TABLE event_json (
    event NUMBER PRIMARY KEY,
    json BYTES NOT NULL
);

-- event_id: the 32 bytes of the hash in an id made of one, else a longer text form (storage/event_ids.py).
-- status: bits 1 rejected, 2 soft-failed. position and topo are NULL for an outlier.
-- before, after: the state before the event and, for state events, after it; NULL before: unknown.
-- thread: the event id of the thread's root, stored as event_id is; NULL in the main timeline.
-- notify_count, highlight_count: cumulative over (room, thread) of events that do so to every member.
CREATE TABLE events (
    event NUMBER PRIMARY KEY,
    event_id BYTES NOT NULL,
    room NUMBER NOT NULL,
    type NUMBER NOT NULL,
    state_key NUMBER,
    sender NUMBER NOT NULL,
    status NUMBER NOT NULL,
    position NUMBER,
    topo NUMBER,
    before_branch NUMBER,
    before_revision NUMBER,
    after_branch NUMBER,
    after_revision NUMBER,
    thread BYTES,
    notify_count NUMBER NOT NULL,
    highlight_count NUMBER NOT NULL
);
CREATE UNIQUE INDEX events_by_id ON events (event_id);
CREATE UNIQUE INDEX events_by_order ON events (room, topo, position);
CREATE UNIQUE INDEX events_by_position ON events (room, position);

CREATE TABLE extremities (
    room NUMBER NOT NULL,
    event NUMBER NOT NULL,
    PRIMARY KEY (room, event)
) WITHOUT_ROWID;

-- A redaction waits here until its target is known; event is the redaction's number.
CREATE TABLE redactions (
    target BYTES NOT NULL,
    event NUMBER NOT NULL,
    applied NUMBER NOT NULL,
    PRIMARY KEY (target, event)
) WITHOUT_ROWID;

-- A branch is laid over its parent at a fixed revision. Branch 0, the current state, has no row here.
CREATE TABLE state_branches (
    room NUMBER NOT NULL,
    branch NUMBER NOT NULL,
    parent_branch NUMBER NOT NULL,
    parent_revision NUMBER NOT NULL,
    PRIMARY KEY (room, branch)
) WITHOUT_ROWID;

-- The value of a key on a branch from one revision until before another. event NULL: removed.
-- to_revision of the value that still holds is 2^62.
CREATE TABLE state_rows (
    room NUMBER NOT NULL,
    branch NUMBER NOT NULL,
    type NUMBER NOT NULL,
    state_key NUMBER NOT NULL,
    from_revision NUMBER NOT NULL,
    to_revision NUMBER NOT NULL,
    event NUMBER,
    membership NUMBER,
    PRIMARY KEY (room, branch, type, state_key, from_revision)
) WITHOUT_ROWID;
CREATE INDEX state_rows_by_start ON state_rows (room, branch, from_revision);
CREATE INDEX state_rows_by_end ON state_rows (room, branch, to_revision);

-- The position of each revision of branch 0.
CREATE TABLE state_revisions (
    room NUMBER NOT NULL,
    revision NUMBER NOT NULL,
    position NUMBER NOT NULL,
    PRIMARY KEY (room, revision)
) WITHOUT_ROWID;
CREATE INDEX state_revisions_by_position ON state_revisions (room, position);

-- Where each local user stands in a room now; position is that of the change.
CREATE TABLE memberships (
    account NUMBER NOT NULL,
    room NUMBER NOT NULL,
    membership NUMBER NOT NULL,
    event NUMBER NOT NULL,
    forgotten NUMBER NOT NULL,
    position NUMBER NOT NULL,
    PRIMARY KEY (account, room)
) WITHOUT_ROWID;
CREATE INDEX memberships_by_room ON memberships (room, account);
CREATE INDEX memberships_by_position ON memberships (position);

-- The event that a request with a transaction id made; path: a hash of the request's path without the id.
CREATE TABLE client_transactions (
    device NUMBER NOT NULL,
    txn_id BYTES NOT NULL,
    path BYTES NOT NULL,
    event NUMBER NOT NULL,
    created_ts NUMBER NOT NULL,
    PRIMARY KEY (device, txn_id, path)
) WITHOUT_ROWID;
CREATE INDEX client_transactions_by_event ON client_transactions (event);

CREATE TABLE aliases (
    alias BYTES PRIMARY KEY,
    room NUMBER NOT NULL,
    creator NUMBER NOT NULL
) WITHOUT_ROWID;
CREATE INDEX aliases_by_room ON aliases (room);

-- Work over several units that outlives a restart.
CREATE TABLE jobs (
    job BYTES PRIMARY KEY,
    kind TEXT NOT NULL,
    state BYTES NOT NULL
) WITHOUT_ROWID;
