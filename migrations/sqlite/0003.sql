-- Schema 3. Each line of the audit trail carries a keyed hash of what it says and of the line before it; those from before
-- have an empty one. A gateway of an older version, which knows of none, can add no line.
CREATE TABLE sealed_audit (
    number    INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    what      TEXT    NOT NULL,
    reference TEXT,
    user_name TEXT,
    client    TEXT    NOT NULL,
    detail    TEXT    NOT NULL,
    provider  TEXT,
    channel   TEXT,
    handle    TEXT,
    recipient TEXT,
    outcome   TEXT,
    hash      BLOB    NOT NULL
) STRICT;
INSERT INTO sealed_audit SELECT number, at, what, reference, user_name, client, detail, provider, channel, handle,
    recipient, outcome, zeroblob(0) FROM audit;

-- Where the chain ends and begins: its last line, the last one from before it, the last one that was old and went. One
-- row, sealed when it is made.
CREATE TABLE audit_chain (
    number      INTEGER NOT NULL,
    hash        BLOB    NOT NULL,
    begun       INTEGER NOT NULL,
    purged      INTEGER NOT NULL,
    purged_hash BLOB    NOT NULL,
    seal        BLOB    NOT NULL
) STRICT;
INSERT INTO audit_chain SELECT given, zeroblob(32), given, given, zeroblob(32), zeroblob(0)
    FROM (SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'audit'), 0) AS given);
DROP TABLE audit;
ALTER TABLE sealed_audit RENAME TO audit;
CREATE INDEX audit_by_reference ON audit (reference);

-- How far each receiver has the trail, and who is bringing it the next line.
CREATE TABLE webhook (
    name          TEXT    PRIMARY KEY,
    delivered     INTEGER NOT NULL,
    failing_since INTEGER,
    tries         INTEGER NOT NULL,
    due_at        INTEGER NOT NULL,
    holder        TEXT    NOT NULL,
    held_until    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Codes that an administrator made for whom no other way is left, by a keyed hash. One goes when it is used.
CREATE TABLE emergency_code (
    hash       TEXT    PRIMARY KEY,
    user_id    INTEGER NOT NULL,
    reference  TEXT    NOT NULL,
    made_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    lifetime   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX emergency_code_by_end ON emergency_code (expires_at);
