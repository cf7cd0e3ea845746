-- compat: 9
-- Nearly every event takes the place of its room's one extremity. Where no index holds the number of the event, and
-- pages have room for another version, PostgreSQL changes the row on its page and leaves the indexes alone.
ALTER TABLE extremities DROP CONSTRAINT extremities_pkey;
CREATE INDEX extremities_by_room ON extremities (room);
ALTER TABLE extremities SET (fillfactor = 70);
ALTER TABLE rooms SET (fillfactor = 70);
