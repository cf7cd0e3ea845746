-- An index over the auth graph of rooms in which states were compared. It can be dropped: it is made again.
--
-- The blocks of a room, in the order of their numbers, are the log of what was indexed; data is packed
-- integers (storage/auth_chains.py). Small blocks are merged into one that has the last one's number.
CREATE TABLE auth_chain_blocks (
    room NUMBER NOT NULL,
    block NUMBER NOT NULL,
    data BYTES NOT NULL,
    PRIMARY KEY (room, block)
);
