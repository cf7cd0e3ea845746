-- Unread counts: what is cumulative stands with the events, what is of one user stands here.
--
-- A thread is written as in table receipts: empty for all of a room, "main", or the root's event id; event
-- ids have their stored form (storage/event_ids.py).

-- The counts of each thread that has notified anyone, at the last event that did, whose position is here.
-- The main timeline has none of these rows: its counts stand with its events.
CREATE TABLE thread_counts (
    room NUMBER NOT NULL,
    thread BYTES NOT NULL,
    position NUMBER NOT NULL,
    notify_count NUMBER NOT NULL,
    highlight_count NUMBER NOT NULL,
    PRIMARY KEY (room, thread)
) WITHOUT_ROWID;
CREATE INDEX thread_counts_by_position ON thread_counts (room, position);

CREATE INDEX events_by_thread ON events (room, thread, position) WHERE thread IS NOT NULL;

-- Up to which position a user has read a thread, and the counts of the thread there. Where thread is empty:
-- up to which they have read all threads, and the counts of the main timeline there.
CREATE TABLE read_points (
    account NUMBER NOT NULL,
    room NUMBER NOT NULL,
    thread BYTES NOT NULL,
    position NUMBER NOT NULL,
    notify_count NUMBER NOT NULL,
    highlight_count NUMBER NOT NULL,
    PRIMARY KEY (account, room, thread)
) WITHOUT_ROWID;

-- Where an unread event counts otherwise for a user than for everyone: what is to be added, -1, 0 or 1.
CREATE TABLE notification_exceptions (
    account NUMBER NOT NULL,
    room NUMBER NOT NULL,
    position NUMBER NOT NULL,
    thread BYTES NOT NULL,
    notify NUMBER NOT NULL,
    highlight NUMBER NOT NULL,
    PRIMARY KEY (account, room, position)
) WITHOUT_ROWID;
