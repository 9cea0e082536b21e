-- The spool, version 2: what was stamped through the API.
--
-- The agent's own `api` stream belongs to the repo whose name is empty, which no watched repo's is:
-- so its epochs, its cursors and a fork of it are those of any stream.

-- The contents stamped through the API, by identity, each with its only stamp. Never purged, nor are
-- the bodies of those stamps: a repeat is answered with the first.
CREATE TABLE content (
    stamp_id  BLOB PRIMARY KEY CHECK (length(stamp_id) = 16),
    pos       INTEGER NOT NULL, -- of its stamp
    digest    BLOB NOT NULL,
    namespace TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Both cover what they are asked for.
CREATE INDEX content_by_digest ON content (digest, pos, namespace);
CREATE INDEX content_by_namespace ON content (namespace, pos);
