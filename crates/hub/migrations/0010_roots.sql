-- The trust roots that this hub has taken, the configured one among them. What numbers of assignments begin anew with a
-- root is decided when it is stored: see roots.rs.
CREATE TABLE roots (
    version BIGINT NOT NULL PRIMARY KEY,
    -- The signed bytes, hexadecimal.
    envelope TEXT NOT NULL,
    taken_ms BIGINT NOT NULL
);
