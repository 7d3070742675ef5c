-- Schema 2. Each line of the audit trail carries a keyed hash of what it says and of the line before it; those from before
-- have an empty one. A gateway of an older version, which knows of none, can add no line.
ALTER TABLE audit ADD COLUMN hash BYTEA NOT NULL DEFAULT '';
ALTER TABLE audit ALTER COLUMN hash DROP DEFAULT;

-- Where the chain ends and begins: its last line, the last one from before it, the last one that was old and went. One
-- row, sealed when it is made; whoever writes a line holds it.
CREATE TABLE audit_chain (
    number      BIGINT NOT NULL,
    hash        BYTEA  NOT NULL,
    begun       BIGINT NOT NULL,
    purged      BIGINT NOT NULL,
    purged_hash BYTEA  NOT NULL,
    seal        BYTEA  NOT NULL
);
INSERT INTO audit_chain
    SELECT given, decode(repeat('00', 32), 'hex'), given, given, decode(repeat('00', 32), 'hex'), ''
    FROM (SELECT greatest((SELECT coalesce(max(number), 0) FROM audit),
                          (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM audit_number_seq)) AS given) AS counter;

-- How far each receiver has the trail, and who is bringing it the next line.
CREATE TABLE webhook (
    name          TEXT COLLATE "C" PRIMARY KEY,
    delivered     BIGINT NOT NULL,
    failing_since BIGINT,
    tries         BIGINT NOT NULL,
    due_at        BIGINT NOT NULL,
    holder        TEXT   NOT NULL,
    held_until    BIGINT NOT NULL
);

-- Codes that an administrator made for whom no other way is left, by a keyed hash. One goes when it is used.
CREATE TABLE emergency_code (
    hash       TEXT COLLATE "C" PRIMARY KEY,
    user_id    BIGINT NOT NULL,
    reference  TEXT   NOT NULL,
    made_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    lifetime   BIGINT NOT NULL
);
CREATE INDEX emergency_code_by_end ON emergency_code (expires_at);
