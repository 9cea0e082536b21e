-- The bridge's side: rows that follow from api stamps, stamping as one call, and the outbox.
--
-- Errors of stampd_stamp beyond those of stampd_append: ST002 another was faster, or the stream is
-- not where its writer thought; nothing was written.

-- What waits to go onto the topic: pieces of streams, in the order of their ids for each stream.
-- What they say is in stamp_events and withheld. Rows are deleted when the broker has confirmed them.
CREATE TABLE public.outbox (
    shard      smallint    NOT NULL CHECK (shard BETWEEN 0 AND 15), -- stampd_shard(stream_id)
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    stream_id  uuid        NOT NULL,
    first_seq  bigint      NOT NULL CHECK (first_seq >= 0),
    next_seq   bigint      NOT NULL CHECK (next_seq > first_seq),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- The shard of a key: by its own bytes, so that it is the same on every server.
CREATE FUNCTION public.stampd_shard(a_stream uuid) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (get_byte(uuid_send(a_stream), 15) & 15)::smallint
$$;

-- Puts a piece of a stream into the outbox, in the transaction that appends it; returns its id.
-- The stream's row is locked since the append, so the ids of a stream are in its order.
CREATE FUNCTION public.stampd_publish(a_stream uuid, first_seq bigint, next_seq bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO public.outbox (shard, stream_id, first_seq, next_seq)
    VALUES (public.stampd_shard(a_stream), a_stream, first_seq, next_seq)
    RETURNING id
$$;

-- As before, and api stamps become rows that say what was asked for. Also returns how many rows of
-- metadata_stamps are new.
DROP FUNCTION public.stampd_insert_bodies;
CREATE FUNCTION public.stampd_insert_bodies(
    a_stream uuid, first_seq bigint, bodies text[], leaves bytea, stamp_ids bytea,
    OUT events_added bigint, OUT contents_added bigint)
LANGUAGE plpgsql AS $$
BEGIN
    WITH given AS (
        SELECT first_seq + i - 1 AS seq, body AS words, body::jsonb AS body,
            substring(leaves FROM (32 * (i - 1))::int + 1 FOR 32) AS leaf
        FROM unnest(bodies) WITH ORDINALITY AS b (body, i)
        WHERE body IS NOT NULL
        OFFSET 0 -- a fence, so that each body is parsed once
    ), events AS (
        INSERT INTO public.stamp_events (stream_id, seq, leaf, kind, namespace, repo, path,
            from_path, digest, prev, size, mode, mtime, seen, stamped, body)
        SELECT a_stream, seq,
            CASE
                WHEN sha256('\x00'::bytea || convert_to(words, 'UTF8')) <> leaf
                    THEN public.stampd_refuse('22000', 'the leaf is not that of the body', seq)
                WHEN body->>'stream' IS DISTINCT FROM a_stream::text
                        OR body->>'seq' IS DISTINCT FROM seq::text
                    THEN public.stampd_refuse('22000', 'the body is of another position', seq)
                ELSE leaf
            END,
            body->>'kind', body->>'namespace', body->>'repo', body->>'path', body->>'from',
            body->>'digest', body->>'prev', (body->>'size')::bigint, (body->>'mode')::integer,
            (body->>'mtime')::timestamptz, (body->>'seen')::timestamptz,
            (body->>'stamped')::timestamptz, body
        FROM given
        ON CONFLICT DO NOTHING
        RETURNING seq, kind, namespace, path, digest, size, stamped, body
    ), contents AS (
        INSERT INTO public.metadata_stamps (id, file_hash, file_path, file_size, content_type,
            namespace, protocol_version, metadata_version, stamp_data, intelligence_data,
            file_metadata, version, op_id, created_at, updated_at)
        SELECT encode(substring(stamp_ids FROM (16 * (seq - first_seq))::int + 1 FOR 16), 'hex')::uuid,
            digest, path, size, left(body->'file'->>'content_type', 255), namespace,
            coalesce(api->>'protocol_version', '1.0'), coalesce(api->>'metadata_version', '0.1'),
            coalesce((api->>'stamp_data')::jsonb, '{}')
                || jsonb_build_object('hash', digest, 'namespace', namespace,
                    'timestamp', body->'stamped',
                    'protocol_version', coalesce(api->>'protocol_version', '1.0'))
                || CASE WHEN api ? 'stamp'
                    THEN jsonb_build_object('stamp', api->'stamp') ELSE '{}' END
                || CASE WHEN api ? 'stamp_type'
                    THEN jsonb_build_object('stamp_type', api->'stamp_type') ELSE '{}' END
                || CASE WHEN api ? 'metadata'
                    THEN jsonb_build_object('metadata', (api->>'metadata')::jsonb) ELSE '{}' END,
            coalesce((api->>'intelligence')::jsonb, body->'intelligence', '{}'),
            jsonb_build_object('digest_of', coalesce(api->>'digest_of', 'bytes'))
                || CASE WHEN api ? 'content_hash'
                    THEN jsonb_build_object('content_hash', api->'content_hash') ELSE '{}' END,
            coalesce((api->>'version')::integer, 1), (api->>'op_id')::uuid, stamped, stamped
        FROM (SELECT events.*, body->'api' AS api FROM events OFFSET 0) told
        WHERE kind IN ('created', 'modified', 'renamed', 'api') AND digest IS NOT NULL
        -- One order for all, so that two batches of the same contents cannot deadlock.
        ORDER BY digest, namespace, path
        -- Without a target: the id may be there as well as the content.
        ON CONFLICT DO NOTHING
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM contents)
    INTO events_added, contents_added;
END $$;

-- The append itself; stampd_append says what it promises. Also returns how many rows of
-- metadata_stamps are new.
CREATE FUNCTION public.stampd_take(
    a_stream uuid, first_seq bigint, bodies text[], leaves bytea, stamp_ids bytea,
    reasons text[], sinces timestamptz[], beyond boolean,
    OUT new_size bigint, OUT head bytea, OUT accepted bigint, OUT duplicates bigint,
    OUT contents bigint)
LANGUAGE plpgsql AS $$
DECLARE
    given    CONSTANT bigint := cardinality(bodies);
    next_seq CONSTANT bigint := first_seq + given;
    inserted record;
BEGIN
    PERFORM public.stampd_check(first_seq, bodies, leaves, stamp_ids, reasons, sinces, beyond);
    -- What is confirmed is on disk, whatever the server's default; a stronger default stays.
    IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    new_size := coalesce(public.stampd_lock(a_stream, first_seq = 0 OR beyond), 0);
    accepted := 0;
    duplicates := 0;
    contents := 0;
    IF first_seq <= new_size OR beyond THEN
        IF public.stampd_compare(a_stream, first_seq, next_seq, leaves) < given THEN
            inserted :=
                public.stampd_insert_bodies(a_stream, first_seq, bodies, leaves, stamp_ids);
            contents := inserted.contents_added;
            accepted := inserted.events_added
                + public.stampd_insert_withheld(
                    a_stream, first_seq, bodies, leaves, reasons, sinces);
        END IF;
        duplicates := given - accepted;
        IF first_seq <= new_size THEN
            new_size := public.stampd_prefix(a_stream, greatest(new_size, next_seq));
        END IF;
        PERFORM public.stampd_describe(a_stream, new_size, first_seq, bodies);
    END IF;
    head := public.stampd_leaf(a_stream, new_size - 1);
END $$;

CREATE OR REPLACE FUNCTION public.stampd_append(
    a_stream uuid, first_seq bigint, bodies text[], leaves bytea, stamp_ids bytea,
    reasons text[], sinces timestamptz[], beyond boolean,
    OUT new_size bigint, OUT head bytea, OUT accepted bigint, OUT duplicates bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- Plans are kept with the session, and made when the tables may still be empty.
SET enable_seqscan = off
SET jit = off
AS $$
BEGIN
    SELECT t.new_size, t.head, t.accepted, t.duplicates
    INTO new_size, head, accepted, duplicates
    FROM public.stampd_take(
        a_stream, first_seq, bodies, leaves, stamp_ids, reasons, sinces, beyond) t;
END $$;

-- Stamps contents that nobody stamped before: all of them, or none.
--
-- When some are held, nothing is written, and `held` has their rows' ids where they are given, NULL
-- elsewhere. Otherwise each gets its event and its row, and the piece goes into the outbox where
-- `publish` says so.
CREATE FUNCTION public.stampd_stamp(
    a_stream uuid, first_seq bigint, bodies text[], leaves bytea, stamp_ids bytea,
    digests text[], namespaces text[], paths text[], publish boolean,
    OUT event bigint, OUT held uuid[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    given CONSTANT int := cardinality(bodies);
    taken record;
BEGIN
    -- By id, and by content: rows that another program made have ids of their own. The plan is kept
    -- and may be made while the table is empty, when an index of whole namespaces looks as good as
    -- the one of contents: the namespace is written so that only the latter fits.
    held := ARRAY(
        SELECT coalesce(
            (SELECT id FROM public.metadata_stamps WHERE id = g.an_id),
            CASE WHEN g.a_path IS NULL
                THEN (SELECT id FROM public.metadata_stamps
                    WHERE file_hash = g.a_digest AND namespace || '' = g.a_namespace
                        AND md5(file_path)::uuid IS NULL)
                ELSE (SELECT id FROM public.metadata_stamps
                    WHERE file_hash = g.a_digest AND namespace || '' = g.a_namespace
                        AND md5(file_path)::uuid = md5(g.a_path)::uuid)
            END)
        FROM (
            SELECT i, d AS a_digest, n AS a_namespace, p AS a_path,
                encode(substring(stamp_ids FROM 16 * (i::int - 1) + 1 FOR 16), 'hex')::uuid AS an_id
            FROM unnest(digests, namespaces, paths) WITH ORDINALITY AS u (d, n, p, i)) g
        ORDER BY g.i);
    IF array_remove(held, NULL) <> '{}' THEN
        RETURN;
    END IF;
    held := NULL;
    taken := public.stampd_take(a_stream, first_seq, bodies, leaves, stamp_ids,
        array_fill(NULL::text, ARRAY[given]), array_fill(NULL::timestamptz, ARRAY[given]), false);
    IF taken.accepted <> given OR taken.contents <> given
            OR taken.new_size <> first_seq + given THEN
        PERFORM public.stampd_refuse('ST002', 'another was faster', first_seq);
    END IF;
    IF publish THEN
        event := public.stampd_publish(a_stream, first_seq, taken.new_size);
    END IF;
END $$;

-- Where a stream ends, once whatever was being appended to it is committed or gone.
CREATE FUNCTION public.stampd_end(a_stream uuid, OUT size bigint, OUT head bytea)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    size := coalesce(public.stampd_lock(a_stream, false), 0);
    head := public.stampd_leaf(a_stream, size - 1);
END $$;

REVOKE ALL ON FUNCTION
    public.stampd_shard, public.stampd_publish, public.stampd_insert_bodies, public.stampd_take,
    public.stampd_stamp, public.stampd_end
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.stampd_publish, public.stampd_stamp, public.stampd_end
    TO stampd_server;
-- What the broker has confirmed, the publisher takes out.
GRANT SELECT, UPDATE, DELETE ON public.outbox TO stampd_server;
