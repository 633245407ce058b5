-- One dialect for SQLite and PostgreSQL: TEXT, BIGINT and DOUBLE PRECISION, no NULL (an empty text or 0 instead), bytes
-- as hexadecimal text. Numbers of 64 bits without sign whose whole range is used (boot ids) are decimal text.

CREATE TABLE devices (
    id TEXT NOT NULL PRIMARY KEY,
    -- 32 bytes, hexadecimal.
    public_key TEXT NOT NULL,
    registered_ms BIGINT NOT NULL,
    -- The last hello as JSON; empty before the first.
    hello TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    hello_count BIGINT NOT NULL,
    online BIGINT NOT NULL,
    last_seen_ms BIGINT NOT NULL,
    -- The highest assignment that was issued here or that the device reported.
    seq BIGINT NOT NULL,
    -- The same for commands.
    command_id BIGINT NOT NULL,
    -- The last metrics record as JSON, and the device's time of it.
    metrics TEXT NOT NULL,
    metrics_ms BIGINT NOT NULL,
    -- Totals over all metrics records.
    samples BIGINT NOT NULL,
    results BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    -- Totals over all batches.
    records BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    lost BIGINT NOT NULL
);

-- Every boot that said hello, so that the hello of an earlier one is known as a repetition.
CREATE TABLE boots (
    device TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    first_ms BIGINT NOT NULL,
    PRIMARY KEY (device, boot_id)
);

CREATE TABLE bundles (
    digest TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    release_counter BIGINT NOT NULL,
    -- The blob that is the manifest's envelope.
    envelope TEXT NOT NULL,
    total_bytes BIGINT NOT NULL,
    -- What people ask about, as JSON: see ingest.rs.
    summary TEXT NOT NULL,
    ingested_ms BIGINT NOT NULL,
    UNIQUE (name, version)
);

-- The blobs that may be served: manifests' envelopes and components of ingested bundles.
CREATE TABLE blobs (
    digest TEXT NOT NULL PRIMARY KEY,
    length BIGINT NOT NULL,
    -- The chunks' lengths in bytes, a JSON array.
    chunks TEXT NOT NULL
);

CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    bundle TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL
);
CREATE INDEX jobs_by_time ON jobs (created_ms);

CREATE TABLE assignments (
    device TEXT NOT NULL,
    seq BIGINT NOT NULL,
    job TEXT NOT NULL,
    -- Empty: what runs already.
    bundle TEXT NOT NULL,
    mode TEXT NOT NULL,
    sampling_ppm BIGINT NOT NULL,
    issued_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    -- The signed bytes, hexadecimal.
    envelope TEXT NOT NULL,
    status TEXT NOT NULL,
    step TEXT NOT NULL,
    reason TEXT NOT NULL,
    -- The device's time of the report that gave status and step; 0 when the hub gave them.
    report_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    PRIMARY KEY (device, seq)
);
CREATE INDEX assignments_by_job ON assignments (job);
CREATE INDEX assignments_by_status ON assignments (status);

CREATE TABLE commands (
    device TEXT NOT NULL,
    id BIGINT NOT NULL,
    -- JSON.
    action TEXT NOT NULL,
    issued_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (device, id)
);

-- The first answer to each assignment (kind 'assign') and command (kind 'cmd').
CREATE TABLE answers (
    device TEXT NOT NULL,
    kind TEXT NOT NULL,
    number BIGINT NOT NULL,
    boot_id TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    received_ms BIGINT NOT NULL,
    -- JSON.
    outcome TEXT NOT NULL,
    PRIMARY KEY (device, kind, number)
);
CREATE INDEX answers_by_time ON answers (received_ms);

CREATE TABLE records (
    device TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    -- Rises in the order of arrival at one hub: received_ms * 1024, or one above the last.
    id BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    received_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    -- JSON, without the kind.
    body TEXT NOT NULL,
    historical BIGINT NOT NULL,
    PRIMARY KEY (device, boot_id, seq)
);
CREATE INDEX records_by_id ON records (id);
CREATE INDEX records_by_kind ON records (kind, id);
CREATE INDEX records_by_device ON records (device, id);
CREATE INDEX records_by_device_and_kind ON records (device, kind, id);

CREATE TABLE gaps (
    device TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    received_ms BIGINT NOT NULL,
    PRIMARY KEY (device, boot_id, first_seq, last_seq)
);

-- Gauges of metrics records over time.
CREATE TABLE series (
    device TEXT NOT NULL,
    gauge TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    received_ms BIGINT NOT NULL,
    PRIMARY KEY (device, gauge, time_ms)
);
CREATE INDEX series_by_time ON series (received_ms);
