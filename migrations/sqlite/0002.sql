-- Schema 2: several providers, what a message costs, and what is known of a line.

-- Who holds the code, or would for a stranger; until now there was one provider. It knows a code by its number, too,
-- when the answer that told its handle was lost.
ALTER TABLE challenge ADD COLUMN provider TEXT;
UPDATE challenge SET provider = 'twilio' WHERE handle IS NOT NULL OR delivery <> 'refused';
-- Whether a code may be right stood in `delivery` with what the page says of it.
ALTER TABLE challenge ADD COLUMN prospect TEXT NOT NULL DEFAULT 'open';
UPDATE challenge SET prospect = 'refused', delivery = 'sent' WHERE delivery = 'refused';
-- No further message can be sent for its code.
ALTER TABLE challenge ADD COLUMN last INTEGER NOT NULL DEFAULT 0;
-- The number that was typed is a landline, which gets calls only.
ALTER TABLE challenge ADD COLUMN landline INTEGER NOT NULL DEFAULT 0;
-- The provider was told to forget the code after its time.
ALTER TABLE challenge ADD COLUMN released INTEGER NOT NULL DEFAULT 0;
CREATE INDEX challenge_to_release ON challenge (expires_at)
    WHERE NOT released AND handle IS NOT NULL AND state IN ('open', 'cancelled', 'exhausted');
CREATE INDEX challenge_by_reference ON challenge (reference);

-- Codes that no challenge holds any more: another provider sent since, or the word came too late.
CREATE TABLE orphan (
    provider  TEXT    NOT NULL,
    handle    TEXT    NOT NULL,
    reference TEXT    NOT NULL,
    due_at    INTEGER NOT NULL,
    PRIMARY KEY (provider, handle)
) STRICT, WITHOUT ROWID;

-- Of a call to a provider: who, how, under which name, to whom (masked) and what it came to.
ALTER TABLE audit ADD COLUMN provider TEXT;
ALTER TABLE audit ADD COLUMN channel TEXT;
ALTER TABLE audit ADD COLUMN handle TEXT;
ALTER TABLE audit ADD COLUMN recipient TEXT;
ALTER TABLE audit ADD COLUMN outcome TEXT;

-- Messages by day, month and whose they are; the key holds the period.
CREATE TABLE budget (
    key       TEXT    PRIMARY KEY,
    count     INTEGER NOT NULL,
    forget_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX budget_by_end ON budget (forget_at);

-- Whose codes went out for challenges that began in a minute, how many, and whether one was typed.
CREATE TABLE conversion (
    minute  INTEGER NOT NULL,
    subject TEXT    NOT NULL,
    sent    INTEGER NOT NULL,
    entered INTEGER NOT NULL,
    PRIMARY KEY (minute, subject)
) STRICT, WITHOUT ROWID;

-- A guard that closed sending, and until when.
CREATE TABLE closure (
    guard TEXT    PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What the number look-up said of a line, by a keyed hash of its number, nothing where it could not say; of what a
-- stranger typed, that they waited.
CREATE TABLE line (
    number     TEXT    PRIMARY KEY,
    kind       TEXT,
    kind_at    INTEGER,
    swapped    INTEGER,
    swapped_at INTEGER
) STRICT, WITHOUT ROWID;

-- The session that the same browser had before, of the same user: it ends with this one.
ALTER TABLE session ADD COLUMN follows TEXT;

-- The number of the newest change: numbers are given in the order in which changes are seen.
CREATE TABLE last_change (
    number INTEGER NOT NULL
) STRICT;
INSERT INTO last_change SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'change'), 0);

-- What was counted at one moment stands in one row.
CREATE TABLE counted (
    key   TEXT    NOT NULL,
    at    INTEGER NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (key, at)
) STRICT, WITHOUT ROWID;
INSERT INTO counted SELECT key, at, count(*) FROM spend GROUP BY key, at;
DROP TABLE spend;
ALTER TABLE counted RENAME TO spend;
CREATE INDEX spend_by_time ON spend (at);
