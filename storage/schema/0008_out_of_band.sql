-- What local users are told of rooms that this server is not in: invites, knocks, and the leaves that end them.
--
-- A row belongs to the row of table memberships for the same account and room while both name the same event,
-- an outlier. version: the room's, as it was told from outside. stripped_state: a JSON array of stripped state
-- events; empty once the user has left. position: that of the change, which forgetting the room leaves as it is.
CREATE TABLE out_of_band_memberships (
    account NUMBER NOT NULL,
    room NUMBER NOT NULL,
    event NUMBER NOT NULL,
    version TEXT NOT NULL,
    stripped_state BYTES NOT NULL,
    position NUMBER NOT NULL,
    PRIMARY KEY (account, room)
);
CREATE INDEX out_of_band_memberships_by_room ON out_of_band_memberships (room);
