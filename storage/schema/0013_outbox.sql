-- What goes to other servers: who is to get it, and what waits for an answer.

-- The servers that have joined members in a room: with the event or revision at from_position the first came in,
-- with that at to_position the last was gone; 2^62 while there is one. Kept for branch 0, the current state.
CREATE TABLE room_servers (
    room NUMBER NOT NULL,
    server BYTES NOT NULL,
    from_position NUMBER NOT NULL,
    to_position NUMBER NOT NULL,
    PRIMARY KEY (room, server, from_position)
) WITHOUT_ROWID;
CREATE INDEX room_servers_by_end ON room_servers (room, to_position);
CREATE INDEX room_servers_by_server ON room_servers (server, to_position);

-- delivered: everything up to this position that was for the server has been answered. The rest is NULL
-- unless the server cannot be reached: since when, when it is tried next, how long that is waited for;
-- milliseconds.
CREATE TABLE destinations (
    destination BYTES PRIMARY KEY,
    delivered NUMBER,
    failing_since NUMBER,
    next_try NUMBER,
    retry_interval NUMBER
) WITHOUT_ROWID;
CREATE INDEX destinations_by_next_try ON destinations (next_try);

-- The one transaction of each server that was not answered yet. upto: what becomes delivered with its answer.
CREATE TABLE outgoing_transactions (
    destination BYTES PRIMARY KEY,
    txn_id TEXT NOT NULL,
    body BYTES NOT NULL,
    upto NUMBER NOT NULL
) WITHOUT_ROWID;
