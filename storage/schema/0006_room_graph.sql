-- What a room's graph knows besides events and states: what is missing of it, and why events were refused.

-- The event that is missing, and one that has it among its prev_events: its number, and where it stands.
CREATE TABLE gaps (
    room NUMBER NOT NULL,
    event_id BYTES NOT NULL,
    referrer NUMBER NOT NULL,
    topo NUMBER NOT NULL,
    PRIMARY KEY (room, event_id, referrer)
) WITHOUT_ROWID;
CREATE INDEX gaps_by_event ON gaps (event_id);

-- Why an event is rejected or soft-failed: the number of the rule in the specification, and a sentence.
CREATE TABLE rejections (
    event NUMBER PRIMARY KEY,
    rule BYTES NOT NULL,
    reason BYTES NOT NULL
);
