-- The servers of rooms from before, told by all changes of branch 0. What was given, or learnt of earlier times,
-- counts from the first revision on.
INSERT INTO room_servers (room, server, from_position, to_position)
WITH members AS (
    SELECT s.room, substr(n.value, instr(n.value, X'3A') + 1) AS server, s.from_revision, s.to_revision
    FROM state_rows s JOIN strings n ON n.string = s.state_key
    WHERE s.branch = 0 AND s.membership = 1 AND instr(n.value, X'3A') > 0
    AND s.type = (SELECT string FROM strings WHERE value = CAST('m.room.member' AS BLOB))
), firsts AS (
    SELECT room, min(revision) AS revision FROM state_revisions GROUP BY room
), steps AS (
    SELECT m.room, m.server, max(m.from_revision, f.revision) AS revision, 1 AS step
    FROM members m JOIN firsts f ON f.room = m.room
    UNION ALL
    SELECT m.room, m.server, max(m.to_revision, f.revision), -1
    FROM members m JOIN firsts f ON f.room = m.room WHERE m.to_revision < 4611686018427387904
), placed AS (
    SELECT d.room, d.server, r.position, sum(d.step) AS step
    FROM steps d JOIN state_revisions r ON r.room = d.room AND r.revision = d.revision
    GROUP BY d.room, d.server, r.position
), counted AS (
    SELECT room, server, position, step, sum(step) OVER (PARTITION BY room, server ORDER BY position) AS present
    FROM placed
), turns AS (
    SELECT room, server, position, present FROM counted WHERE (present > 0) <> (present - step > 0)
), spans AS (
    SELECT room, server, position, present,
    lead(position, 1, 4611686018427387904) OVER (PARTITION BY room, server ORDER BY position) AS until
    FROM turns
)
SELECT room, server, position, until FROM spans WHERE present > 0;
