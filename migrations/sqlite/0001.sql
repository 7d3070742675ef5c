-- Schema 1. Times are whole seconds since 1970-01-01 UTC. Ids are text as they stand in cookies.

CREATE TABLE user (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    name               TEXT    NOT NULL UNIQUE,
    phone_number       TEXT    NOT NULL UNIQUE,
    phone_verified_at  INTEGER,
    two_factor_enabled INTEGER NOT NULL DEFAULT 1,
    disabled           INTEGER NOT NULL DEFAULT 0,
    created_at         INTEGER NOT NULL
) STRICT;

CREATE TABLE challenge (
    id          TEXT    PRIMARY KEY,
    reference   TEXT    NOT NULL,
    user_id     INTEGER,
    user_name   TEXT,
    subject     TEXT    NOT NULL,
    recipient   TEXT    NOT NULL,
    return_to   TEXT    NOT NULL,
    channel     TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    sent_at     INTEGER NOT NULL,
    sends       INTEGER NOT NULL,
    checks      INTEGER NOT NULL,
    max_checks  INTEGER NOT NULL,
    code_length INTEGER NOT NULL,
    state       TEXT    NOT NULL,
    delivery    TEXT    NOT NULL,
    handle      TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX challenge_by_subject ON challenge (subject, sent_at);
CREATE INDEX challenge_by_expiry ON challenge (expires_at);

CREATE TABLE spend (
    key TEXT    NOT NULL,
    at  INTEGER NOT NULL
) STRICT;
CREATE INDEX spend_by_key ON spend (key, at);
CREATE INDEX spend_by_time ON spend (at);

CREATE TABLE failure (
    subject TEXT    PRIMARY KEY,
    count   INTEGER NOT NULL,
    last_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    id           TEXT    PRIMARY KEY,
    user_id      INTEGER NOT NULL,
    user_name    TEXT    NOT NULL,
    method       TEXT    NOT NULL,
    auth_time    INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    ended        TEXT,
    client       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_by_user ON session (user_name);
CREATE INDEX session_by_expiry ON session (expires_at);

-- What a running gateway must hear of: it reads on from the last number it knows.
CREATE TABLE change (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    subject TEXT    NOT NULL
) STRICT;

CREATE TABLE signing_key (
    kid        TEXT    PRIMARY KEY,
    sealed     BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    what      TEXT    NOT NULL,
    reference TEXT,
    user_name TEXT,
    client    TEXT    NOT NULL,
    detail    TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_by_reference ON audit (reference);
