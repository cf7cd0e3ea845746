-- Events that came while something before them was missing: no timeline goes on over such a place, whatever
-- is learnt later. event: the number of the event after the gap.
CREATE TABLE timeline_gaps (
    room NUMBER NOT NULL,
    event NUMBER NOT NULL,
    PRIMARY KEY (room, event)
) WITHOUT_ROWID;
