-- Functions for the end of a commit, which travels to the server as one message.

-- Raises the fence of each room by one, in the order of rooms so that two processes cannot deadlock.
-- Where one is not as expected, nothing is done and the rooms are the detail of the error TR001.
CREATE FUNCTION trellis_raise_fences(asked_rooms BIGINT[], expected_fences BIGINT[]) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    held_rooms BIGINT[];
    lost_rooms TEXT;
BEGIN
    SELECT array_agg(held.room) INTO held_rooms FROM (
        SELECT rooms.room
          FROM unnest(asked_rooms, expected_fences) AS asked (room, expected)
          JOIN rooms ON rooms.room = asked.room
         WHERE rooms.fence = asked.expected
         ORDER BY rooms.room
           FOR UPDATE OF rooms
    ) AS held;
    SELECT string_agg(asked.room::text, ',') INTO lost_rooms
      FROM unnest(asked_rooms) AS asked (room)
     WHERE held_rooms IS NULL OR asked.room <> ALL (held_rooms);
    IF lost_rooms IS NOT NULL THEN
        RAISE EXCEPTION 'a fence was lost' USING ERRCODE = 'TR001', DETAIL = lost_rooms;
    END IF;
    UPDATE rooms SET fence = fence + 1 WHERE rooms.room = ANY (asked_rooms);
END
$$;

-- Takes so many positions and leaves the one before the first of them in the setting trellis.base.
CREATE FUNCTION trellis_take_positions(wanted BIGINT) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    base BIGINT;
BEGIN
    IF wanted = 0 THEN
        SELECT counters.value INTO STRICT base FROM counters WHERE counters.name = 'position';
    ELSE
        UPDATE counters SET value = counters.value + wanted WHERE counters.name = 'position'
        RETURNING counters.value - wanted INTO STRICT base;
    END IF;
    PERFORM set_config('trellis.base', base::text, false);
END
$$;
