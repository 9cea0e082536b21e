-- The spool, version 2: what was stamped through the API.
--
-- The agent's own `api` stream belongs to the repo whose name is empty, which no watched repo's is:
-- so its epochs, its cursors and a fork of it are those of any stream.

-- The contents stamped through the API, each with its only stamp. Never purged, nor are the bodies of
-- those stamps: a repeat is answered with the first. One tree by digest serves both questions, what is
-- known of a digest and whether this identity is held: two trees in random order would have every
-- stamp change a page of each.
CREATE TABLE content (
    digest    BLOB NOT NULL,
    stamp_id  BLOB NOT NULL CHECK (length(stamp_id) = 16), -- the identity: it follows from digest, namespace and path
    pos       INTEGER NOT NULL, -- of its stamp
    namespace TEXT NOT NULL,
    PRIMARY KEY (digest, stamp_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX content_by_namespace ON content (namespace, pos);
