-- The spool, version 1. One file holds the index of what is on disk and the log of what was stamped,
-- so that both change in one transaction.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY, -- agent_id; clean: 1 after an orderly stop
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What many stamps share. Immutable: a body is rendered with the context it was hashed with.
CREATE TABLE context (
    id   INTEGER PRIMARY KEY,
    json TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE repo (
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    root      BLOB NOT NULL,
    namespace TEXT NOT NULL
) STRICT;

-- One agent x repo x epoch. Its leaves form an RFC 6962 tree.
CREATE TABLE stream (
    id           INTEGER PRIMARY KEY,
    stream_id    BLOB NOT NULL UNIQUE CHECK (length(stream_id) = 16),
    repo_id      INTEGER NOT NULL REFERENCES repo (id),
    epoch        INTEGER NOT NULL,
    origin       BLOB NOT NULL,    -- digest of the machine and the file it was opened on
    context      INTEGER NOT NULL REFERENCES context (id), -- of its first stamp
    next_seq     INTEGER NOT NULL,
    root_state   BLOB NOT NULL,    -- the roots of the tree's perfect subtrees, largest first
    ends_at      INTEGER,          -- from here on a sink holds other stamps: ours go in the next epoch
    purged_to    INTEGER NOT NULL, -- below this, retention has decided about every body
    committed_at INTEGER NOT NULL, -- when its newest stamp was taken
    changed_at   INTEGER,          -- when its newest stamp of a path was taken
    UNIQUE (repo_id, epoch)
) STRICT;

-- The log. `pos` is (stream.id << 40) + seq: one B-tree by rowid, appended at its end, which SQLite
-- does far faster than inserting by any other key. A body is rendered from these columns and proved
-- by the leaf. When it is purged, everything but the leaf, the links and the times becomes NULL.
CREATE TABLE stamp (
    pos       INTEGER PRIMARY KEY,
    leaf      BLOB NOT NULL,
    kind      TEXT,
    context   INTEGER,
    path      BLOB,
    from_path BLOB,
    digest    BLOB,
    prev      BLOB,
    size      INTEGER,
    mode      INTEGER,
    mtime     INTEGER,
    seen      INTEGER,
    stamped   INTEGER NOT NULL,
    detail    TEXT,    -- JSON of the rarer keys
    prev_pos  INTEGER, -- the stamp of the same path before this one
    from_pos  INTEGER, -- of a rename: the newest stamp of the old path
    purged    INTEGER  -- when the body went
) STRICT;

-- What was last seen of each path, and its newest stamp. The row of a deleted path stays.
CREATE TABLE file (
    repo_id  INTEGER NOT NULL,
    path     BLOB NOT NULL,
    ino      INTEGER,
    btime_ns INTEGER,
    size     INTEGER,
    mtime_ns INTEGER,
    ctime_ns INTEGER,
    mode     INTEGER,
    nlink    INTEGER,
    digest   BLOB,             -- of the last known content, or of the text of a symbolic link
    state    INTEGER NOT NULL, -- 0 content 1 symlink 2 unstable 3 deleted; skipped: 10 too_large
                               -- 11 sparse 12 unreadable 13 special 14 ignored
    racy     INTEGER NOT NULL, -- 1: may have changed within the granularity of its own ctime
    pos      INTEGER NOT NULL, -- of its newest stamp
    PRIMARY KEY (repo_id, path)
) STRICT, WITHOUT ROWID;

-- Every sink that ever had a cursor, until it is forgotten: purging waits for each of them.
CREATE TABLE sink (
    name     TEXT PRIMARY KEY,
    identity TEXT -- of the far end, pinned at first contact
) STRICT, WITHOUT ROWID;

CREATE TABLE cursor (
    sink   TEXT NOT NULL REFERENCES sink (name),
    stream INTEGER NOT NULL REFERENCES stream (id),
    size   INTEGER NOT NULL, -- the length of the prefix that the sink has confirmed
    PRIMARY KEY (sink, stream)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead (
    sink     TEXT NOT NULL REFERENCES sink (name),
    pos      INTEGER NOT NULL, -- of the stamp
    class    TEXT NOT NULL,
    code     TEXT NOT NULL,
    reason   TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    PRIMARY KEY (sink, pos)
) STRICT, WITHOUT ROWID;

-- Intervals in which a repo could not be seen completely; without `until` it still lasts.
CREATE TABLE coverage (
    repo_id INTEGER NOT NULL REFERENCES repo (id),
    since   INTEGER NOT NULL,
    reason  TEXT NOT NULL,
    until   INTEGER,
    PRIMARY KEY (repo_id, since, reason)
) STRICT, WITHOUT ROWID;
