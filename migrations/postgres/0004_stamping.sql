-- The bridge's side: stamping as one call, and the outbox.
--
-- Errors are those of stampd_append.

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
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    new_id bigint;
BEGIN
    INSERT INTO public.outbox (shard, stream_id, first_seq, next_seq)
    VALUES (public.stampd_shard(a_stream), a_stream, first_seq, next_seq)
    RETURNING id INTO new_id;
    RETURN new_id;
END $$;

-- The ids of the rows that are held, NULL where there is none: by id, and by content, since rows that
-- another program made have ids of their own.
CREATE FUNCTION public.stampd_held(ids uuid[], digests text[], namespaces text[], paths text[])
RETURNS uuid[]
LANGUAGE plpgsql STABLE AS $$
BEGIN
    -- The plan is kept and may be made while the table is empty, when an index of whole namespaces
    -- looks as good as the one of contents: the namespace is written so that only the latter fits.
    RETURN ARRAY(
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
        FROM unnest(ids, digests, namespaces, paths) WITH ORDINALITY
            AS g (an_id, a_digest, a_namespace, a_path, i)
        ORDER BY g.i);
END $$;

-- Stamps contents that nobody stamped before, at the end of a stream: all of them, or none.
--
-- When some are held, nothing is written, and `held` has their rows' ids where they are given, NULL
-- elsewhere. Otherwise each gets its event and its row, and the piece goes into the outbox where
-- `publish` says so. ST001 is also of a stream that does not end there. Another's row that comes
-- between is 23505: what was held when we looked is found when this is called again.
CREATE FUNCTION public.stampd_stamp(
    a_stream uuid, first_seq bigint, bodies text[], leaves bytea, ids uuid[],
    digests text[], namespaces text[], paths text[], publish boolean,
    OUT event bigint, OUT held uuid[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    given CONSTANT int := cardinality(bodies);
BEGIN
    PERFORM FROM public.metadata_stamps WHERE file_hash = ANY (digests);
    IF FOUND THEN
        held := public.stampd_held(ids, digests, namespaces, paths);
        IF array_remove(held, NULL) <> '{}' THEN
            RETURN;
        END IF;
        held := NULL;
    END IF;
    IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    -- This also locks the stream.
    UPDATE public.streams s SET size = first_seq + given, last_seen = now()
    WHERE s.stream_id = a_stream AND s.size = first_seq AND s.writer = session_user;
    IF NOT FOUND THEN
        PERFORM public.stampd_refuse(
            'ST001', format('stream %s does not end at %s', a_stream, first_seq), first_seq);
    END IF;
    -- Without ON CONFLICT, which would look into each index a second time.
    WITH told AS (
        SELECT first_seq + i - 1 AS seq, words, words::jsonb AS body, an_id,
            substring(leaves FROM (32 * (i - 1))::int + 1 FOR 32) AS leaf
        FROM unnest(bodies, ids) WITH ORDINALITY AS b (words, an_id, i)
        OFFSET 0 -- a fence, so that each body is parsed once
    ), events AS (
        INSERT INTO public.stamp_events (stream_id, seq, leaf, kind, namespace, repo, path,
            from_path, digest, prev, size, mode, mtime, seen, stamped, body)
        SELECT a_stream, t.seq, public.stampd_proved(a_stream, t.seq, t.words, t.body, t.leaf),
            e.*, t.body
        FROM told t, public.stampd_event_of(t.body) e
    ), contents AS (
        INSERT INTO public.metadata_stamps (id, file_hash, file_path, file_size, content_type,
            namespace, protocol_version, metadata_version, stamp_data, intelligence_data,
            file_metadata, version, op_id, created_at, updated_at)
        SELECT t.an_id, c.*, c.created_at
        FROM told t, public.stampd_content_of(t.body) c
        -- The order of stampd_insert_bodies.
        ORDER BY c.file_hash, c.namespace, c.file_path
    ), queued AS (
        INSERT INTO public.outbox AS o (shard, stream_id, first_seq, next_seq)
        SELECT public.stampd_shard(a_stream), a_stream, first_seq, first_seq + given
        WHERE publish
        RETURNING o.id
    )
    SELECT q.id INTO event FROM queued q;
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
    public.stampd_shard, public.stampd_publish, public.stampd_held, public.stampd_stamp,
    public.stampd_end
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.stampd_publish, public.stampd_stamp, public.stampd_end
    TO stampd_server;
-- What the broker has confirmed, the publisher takes out.
GRANT SELECT, UPDATE, DELETE ON public.outbox TO stampd_server;
