-- Keys of other servers.

-- Every key that a server has published. valid_until_ts: that of the last answer that the key was in, but never
-- more than seven days after it came; for a key that is used no more, its expired_ts. In milliseconds.
CREATE TABLE server_keys (
    server_name TEXT NOT NULL,
    key_id TEXT NOT NULL,
    key BYTES NOT NULL,
    valid_until_ts NUMBER NOT NULL,
    PRIMARY KEY (server_name, key_id)
) WITHOUT_ROWID;

-- The last answer of each server, as JSON with its signatures, and when it came.
CREATE TABLE server_key_documents (
    server_name TEXT PRIMARY KEY,
    fetched_ts NUMBER NOT NULL,
    valid_until_ts NUMBER NOT NULL,
    document BYTES NOT NULL
);
