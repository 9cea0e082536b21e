-- The bridge's side: stamping as one call, and the outbox.
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
SET plan_cache_mode = force_generic_plan
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
    public.stampd_shard, public.stampd_publish, public.stampd_stamp, public.stampd_end
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.stampd_publish, public.stampd_stamp, public.stampd_end
    TO stampd_server;
-- What the broker has confirmed, the publisher takes out.
GRANT SELECT, UPDATE, DELETE ON public.outbox TO stampd_server;
