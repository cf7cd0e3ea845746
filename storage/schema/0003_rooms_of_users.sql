-- What users keep beside the rooms' graphs: account data, receipts, profiles, filters.

-- room 0: global account data. Tags are the room's account data of type m.tag.
CREATE TABLE account_data (
    account NUMBER NOT NULL,
    room NUMBER NOT NULL,
    type BYTES NOT NULL,
    content BYTES NOT NULL,
    position NUMBER NOT NULL,
    PRIMARY KEY (account, room, type)
) WITHOUT_ROWID;
CREATE INDEX account_data_by_position ON account_data (account, position);

-- private: 1 for m.read.private. thread: empty for unthreaded, "main", or the root's event id.
CREATE TABLE receipts (
    room NUMBER NOT NULL,
    reader NUMBER NOT NULL,
    private NUMBER NOT NULL,
    thread BYTES NOT NULL,
    event_id BYTES NOT NULL,
    received_ts NUMBER NOT NULL,
    position NUMBER NOT NULL,
    PRIMARY KEY (room, reader, private, thread)
) WITHOUT_ROWID;
CREATE INDEX receipts_by_position ON receipts (room, position);

-- value: JSON of one profile field.
CREATE TABLE profiles (
    account NUMBER NOT NULL,
    field BYTES NOT NULL,
    value BYTES NOT NULL,
    PRIMARY KEY (account, field)
) WITHOUT_ROWID;

CREATE TABLE filters (
    account NUMBER NOT NULL,
    digest BYTES NOT NULL,
    filter BYTES NOT NULL,
    PRIMARY KEY (account, digest)
) WITHOUT_ROWID;
