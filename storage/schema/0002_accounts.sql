-- Accounts of this server's users, their devices, and how they prove who they are.

-- account: the interned user id. password_hash NULL: no password opens the account.
-- user_type: NULL for people, else what administrators call it ('bot', 'support').
CREATE TABLE accounts (
    account NUMBER PRIMARY KEY,
    password_hash TEXT,
    created_ts NUMBER NOT NULL,
    user_type TEXT,
    is_admin NUMBER NOT NULL,
    is_guest NUMBER NOT NULL,
    is_locked NUMBER NOT NULL,
    is_suspended NUMBER NOT NULL,
    is_deactivated NUMBER NOT NULL
);

-- A device that comes back under its old id after a logout is another device: transaction ids are not the same.
CREATE TABLE devices (
    device NUMBER PRIMARY KEY NEVER_REUSED,
    account NUMBER NOT NULL,
    device_id BYTES NOT NULL,
    display_name BYTES,
    created_ts NUMBER NOT NULL,
    last_seen_ts NUMBER,
    last_seen_ip BYTES,
    last_seen_user_agent BYTES
);
CREATE UNIQUE INDEX devices_by_id ON devices (account, device_id);

-- token: the SHA-256 of the access token, which itself is kept nowhere. expires_ts NULL: never.
CREATE TABLE access_tokens (
    token BYTES PRIMARY KEY,
    account NUMBER NOT NULL,
    device NUMBER,
    created_ts NUMBER NOT NULL,
    expires_ts NUMBER
) WITHOUT_ROWID;
CREATE INDEX access_tokens_by_device ON access_tokens (device);

-- uses_allowed NULL: as often as anybody likes. completed: accounts that were registered with the token.
CREATE TABLE registration_tokens (
    token BYTES PRIMARY KEY,
    uses_allowed NUMBER,
    completed NUMBER NOT NULL,
    created_ts NUMBER NOT NULL,
    expires_ts NUMBER
) WITHOUT_ROWID;

-- session: the SHA-256 of the session's id. client: who began it, a user id or an address.
-- endpoint, body: what is being authorised, as keyed hashes. completed: JSON, stage -> what came of it.
CREATE TABLE user_interactive_sessions (
    session BYTES PRIMARY KEY,
    client BYTES NOT NULL,
    endpoint BYTES NOT NULL,
    body BYTES NOT NULL,
    completed BYTES NOT NULL,
    expires_ts NUMBER NOT NULL
) WITHOUT_ROWID;
CREATE INDEX user_interactive_sessions_by_client ON user_interactive_sessions (client, expires_ts);
CREATE INDEX user_interactive_sessions_by_expiry ON user_interactive_sessions (expires_ts);
