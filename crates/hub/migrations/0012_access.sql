-- Who may ask, and what was changed by whom. The dialect is that of 0001_start.sql.

-- Named tokens. None is ever removed: a name in the audit log means one token for good.
CREATE TABLE tokens (
    name TEXT NOT NULL PRIMARY KEY,
    -- SHA-256 of the token, hexadecimal. The token itself is nowhere.
    hash TEXT NOT NULL UNIQUE,
    -- Comma-separated: viewer, operator, releaser, admin.
    roles TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    -- 0: it doesn't expire.
    expires_ms BIGINT NOT NULL,
    -- 0: it wasn't revoked.
    revoked_ms BIGINT NOT NULL,
    -- To the minute; 0: it was never used.
    last_used_ms BIGINT NOT NULL
);

-- Browsers that are logged in.
CREATE TABLE sessions (
    -- SHA-256 of the cookie's value, hexadecimal.
    hash TEXT NOT NULL PRIMARY KEY,
    actor_kind TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    -- SHA-256 of the token it was opened with, which has to hold still; empty for an identity of the issuer.
    token TEXT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX sessions_by_end ON sessions (expires_ms);

-- The audit log: a chain of hashes, see audit.rs. Triggers that refuse to change or remove an entry differ between SQLite
-- and PostgreSQL; database/audit.rs makes them at every start.
CREATE TABLE audit (
    seq BIGINT NOT NULL PRIMARY KEY,
    time_ms BIGINT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    actor_roles TEXT NOT NULL,
    actor_method TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- JSON, the very text that was hashed.
    details TEXT NOT NULL,
    -- Unique both: two hubs can't write two entries after the same one.
    previous TEXT NOT NULL UNIQUE,
    hash TEXT NOT NULL UNIQUE
);

-- Where the chain ends: the row that writers queue for. It proves nothing; the entries do.
CREATE TABLE audit_head (
    id BIGINT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO audit_head (id, seq, hash)
VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

-- What the hub signed about the chain's end from time to time.
CREATE TABLE audit_checkpoints (
    seq BIGINT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    -- The signed bytes, hexadecimal.
    envelope TEXT NOT NULL
);
