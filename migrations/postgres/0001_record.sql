-- The record: streams and their stamps, what is known of each content, and the one way in.
--
-- Run by `stampd migrate` in one transaction. Every name is qualified, here and in functions, so
-- that no search_path of a connection or a role can put another object in its place.

-- Which migrations made this schema. A row is written by the migrator together with its migration.
CREATE TABLE public.stampd_schema (
    version    integer     PRIMARY KEY CHECK (version > 0),
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text        NOT NULL DEFAULT session_user
);

-- The identity of this record, which agents pin at first contact. It goes along in dumps and
-- restores, as the server's own system_identifier does not.
CREATE TABLE public.stampd_ledger (
    id         uuid        NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    only_row   boolean     PRIMARY KEY DEFAULT true CHECK (only_row)
);
INSERT INTO public.stampd_ledger DEFAULT VALUES;

-- One agent x repo x epoch.
CREATE TABLE public.streams (
    stream_id     uuid        PRIMARY KEY,
    writer        text        NOT NULL, -- the login that appended first; others are refused
    size          bigint      NOT NULL DEFAULT 0 CHECK (size >= 0), -- of the contiguous prefix held
    -- From the bodies; NULL while only withheld positions are known.
    agent_id      text,
    repo          text,
    namespace     text,
    agent_version text,
    epoch         bigint      NOT NULL DEFAULT 0, -- how many streams came before, as far as known here
    first_seen    timestamptz NOT NULL DEFAULT now(),
    last_seen     timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50); -- its rows change with every batch, and stay on their page so

-- The ledger: append-only, rows are never changed. No foreign key to streams and no second index:
-- stampd_append is the only way in and keeps both true, and each would cost every row.
CREATE TABLE public.stamp_events (
    stream_id    uuid        NOT NULL,
    seq          bigint      NOT NULL CHECK (seq >= 0),
    leaf         bytea       NOT NULL, -- SHA-256(0x00 || body), of the canonical text
    kind         text        NOT NULL,
    namespace    text        NOT NULL,
    repo         text,
    path         text,
    from_path    text,
    digest       text COLLATE "C", -- 64 hexadecimal digits of BLAKE3, as metadata_stamps.file_hash
    prev         text COLLATE "C",
    size         bigint,
    mode         integer,
    mtime        timestamptz,
    seen         timestamptz NOT NULL,
    stamped      timestamptz NOT NULL,
    body         jsonb       NOT NULL, -- for queries: its keys are reordered, the leaf is of the JCS text
    received_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream_id, seq)
);

-- Positions whose body was refused here or purged before it could come. A body that comes late
-- goes into stamp_events with the same leaf; contiguity is that of both tables together.
CREATE TABLE public.withheld (
    stream_id uuid        NOT NULL,
    seq       bigint      NOT NULL CHECK (seq >= 0),
    leaf      bytea       NOT NULL,
    reason    text        NOT NULL,
    since     timestamptz NOT NULL,
    PRIMARY KEY (stream_id, seq)
);

-- What is known of each content in a namespace and at a path.
CREATE TABLE public.metadata_stamps (
    id                uuid                     PRIMARY KEY,
    file_hash         varchar(64) COLLATE "C"  NOT NULL,
    file_path         text,
    file_size         bigint                   CHECK (file_size >= 0),
    content_type      varchar(255),
    namespace         varchar(255)             NOT NULL DEFAULT 'omninode.services.metadata',
    protocol_version  varchar(10)              NOT NULL DEFAULT '1.0',
    metadata_version  varchar(10)              NOT NULL DEFAULT '0.1',
    stamp_data        jsonb                    NOT NULL DEFAULT '{}',
    intelligence_data jsonb                    NOT NULL DEFAULT '{}',
    file_metadata     jsonb                    NOT NULL DEFAULT '{}',
    version           integer                  NOT NULL DEFAULT 1,
    op_id             uuid,
    workflow_id       uuid,
    created_at        timestamptz              NOT NULL DEFAULT now(),
    updated_at        timestamptz              NOT NULL DEFAULT now()
);
-- Leading with the digest, it also finds a content by its digest alone. A path can be longer than
-- an index row, and its MD5 as a uuid compares fastest.
CREATE UNIQUE INDEX metadata_stamps_content ON public.metadata_stamps
    (file_hash, namespace, (md5(file_path)::uuid)) NULLS NOT DISTINCT;
CREATE INDEX metadata_stamps_recent ON public.metadata_stamps (namespace, created_at DESC);
CREATE INDEX metadata_stamps_path ON public.metadata_stamps (left(file_path, 512));
