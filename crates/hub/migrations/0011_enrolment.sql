-- How devices come in by themselves. The dialect is that of 0001.

-- What lets a device in once. The secret itself is nowhere: a request is signed with it, and this is its public half.
CREATE TABLE enrolment_tokens (
    -- The id of the token's key, 16 bytes, hexadecimal.
    id TEXT NOT NULL PRIMARY KEY,
    -- 32 bytes, hexadecimal.
    public_key TEXT NOT NULL,
    -- The devices that it is for: an id, in which `*` stands for any characters.
    pattern TEXT NOT NULL,
    -- The hardware class that they have to say they are; empty for any.
    hardware TEXT NOT NULL,
    -- 1 where a device that is known by another key gets the new one.
    replaces BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    -- 0 before it was used.
    used_ms BIGINT NOT NULL,
    -- Who has used it; empty before.
    device TEXT NOT NULL,
    -- The digest of the request that has used it, so that the same one gets the same answer; empty before.
    request TEXT NOT NULL,
    -- That answer, hexadecimal; empty before.
    answer TEXT NOT NULL
);

-- The certificates that were made for devices, until they have expired.
CREATE TABLE certificates (
    -- Hexadecimal.
    serial TEXT NOT NULL PRIMARY KEY,
    device TEXT NOT NULL,
    -- The digest of the certificate request.
    csr TEXT NOT NULL,
    issued_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    -- The signed answer that has it, hexadecimal: given again when the same request comes again.
    answer TEXT NOT NULL
);

CREATE INDEX certificates_by_device ON certificates (device, issued_ms);
