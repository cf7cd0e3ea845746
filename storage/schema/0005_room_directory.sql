-- The published room directory of this server.

CREATE TABLE published_rooms (
    room NUMBER PRIMARY KEY
);
