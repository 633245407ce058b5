-- How many records of a gap came, before it or behind it: what came isn't lost. Kept, so that nobody has to count them again.
ALTER TABLE gaps ADD COLUMN stored BIGINT NOT NULL DEFAULT 0;
UPDATE gaps SET stored = (
    SELECT COUNT(*) FROM records
    WHERE records.device = gaps.device AND records.boot_id = gaps.boot_id
    AND records.seq BETWEEN gaps.first_seq AND gaps.last_seq
);

-- Live records lie above all gaps of their boot: there is nothing to be found by this then.
CREATE INDEX gaps_by_end ON gaps (device, boot_id, last_seq);
