-- SQLite adds the columns of the primary key to every index of such a table by itself. With them each index
-- leads to the one row of a key, whichever the planner takes: thousands of values may begin, and end, alike.
DROP INDEX state_rows_by_start;
CREATE INDEX state_rows_by_start ON state_rows (room, branch, from_revision, type, state_key);
DROP INDEX state_rows_by_end;
CREATE INDEX state_rows_by_end ON state_rows (room, branch, to_revision, type, state_key);
