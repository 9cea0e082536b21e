-- The one way in: stampd_append, for the agent's own road, the bridge's and the adapter's.
--
-- Its parts are in PL/pgSQL, which keeps plans with the session, where SQL would plan at each call.
--
-- Its errors, for those who call it: ST001 the stream holds another stamp at a position (a fork;
-- DETAIL is the seq); 22xxx and 23xxx the data is at fault; 42501 the stream belongs to another
-- login; 54000 too much at once. Everything else here is its parts, which run as its owner and
-- with its settings.

-- Raises an error from within an expression.
CREATE FUNCTION public.stampd_refuse(code text, words text, at_seq bigint) RETURNS bytea
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = code, MESSAGE = words, DETAIL = at_seq::text;
END $$;

-- Checks what the caller gave, before anything is locked.
CREATE FUNCTION public.stampd_check(
    first_seq bigint, bodies text[], leaves bytea, stamp_ids bytea, reasons text[],
    sinces timestamptz[], beyond boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    given CONSTANT bigint := cardinality(bodies);
BEGIN
    IF NOT coalesce(first_seq >= 0 AND beyond IS NOT NULL
            AND cardinality(reasons) = given AND cardinality(sinces) = given
            AND octet_length(leaves) = 32 * given AND octet_length(stamp_ids) = 16 * given, false)
    THEN
        RAISE invalid_parameter_value USING MESSAGE = 'the parts of the batch differ in length';
    ELSIF given > 5000 THEN
        RAISE program_limit_exceeded USING MESSAGE = 'a batch holds at most 5000 stamps';
    ELSIF beyond AND NOT public.stampd_is_server(session_user) THEN
        RAISE insufficient_privilege USING MESSAGE = 'only a stampd_server may leave a gap';
    END IF;
END $$;

-- Whether a login may act as one of the servers, which speak for many agents.
CREATE FUNCTION public.stampd_is_server(login text) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM pg_catalog.pg_roles
        WHERE rolname = login AND pg_catalog.pg_has_role(oid, 'stampd_server', 'MEMBER'));
END $$;

-- Locks a stream, opening it when `may_open`, and returns its size; NULL when there is none.
--
-- A stream belongs to the login that appended to it first. Servers may append to any, and a stream
-- that one of them opened belongs to the first agent that comes by itself.
CREATE FUNCTION public.stampd_lock(a_stream uuid, may_open boolean) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    old public.streams;
BEGIN
    SELECT * INTO old FROM public.streams WHERE stream_id = a_stream FOR UPDATE;
    IF NOT FOUND THEN
        IF NOT may_open THEN
            RETURN NULL;
        END IF;
        INSERT INTO public.streams (stream_id, writer) VALUES (a_stream, session_user)
            ON CONFLICT DO NOTHING;
        SELECT * INTO old FROM public.streams WHERE stream_id = a_stream FOR UPDATE;
    END IF;
    IF old.writer = session_user OR public.stampd_is_server(session_user) THEN
        RETURN old.size;
    ELSIF NOT public.stampd_is_server(old.writer) THEN
        RAISE insufficient_privilege USING MESSAGE = format(
            'stream %s belongs to login %s, not to %s', a_stream, old.writer, session_user);
    END IF;
    UPDATE public.streams SET writer = session_user WHERE stream_id = a_stream;
    RETURN old.size;
END $$;

-- The leaf at a position, whichever table holds it.
CREATE FUNCTION public.stampd_leaf(a_stream uuid, at_seq bigint) RETURNS bytea
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN coalesce(
        (SELECT leaf FROM public.stamp_events WHERE stream_id = a_stream AND seq = at_seq),
        (SELECT leaf FROM public.withheld WHERE stream_id = a_stream AND seq = at_seq));
END $$;

-- Counts the bodies that are held already, and refuses a piece that disagrees with what is held.
-- Also tells whether something is held right behind the piece.
CREATE FUNCTION public.stampd_compare(
    a_stream uuid, first_seq bigint, next_seq bigint, leaves bytea,
    OUT held bigint, OUT goes_on boolean)
LANGUAGE plpgsql AS $$
DECLARE
    differs bigint;
BEGIN
    SELECT count(*) FILTER (WHERE h.whole AND h.seq < next_seq),
        coalesce(bool_or(h.seq = next_seq), false),
        min(h.seq) FILTER (WHERE h.seq < next_seq AND h.leaf <>
            substring(leaves FROM (32 * (h.seq - first_seq))::int + 1 FOR 32))
    INTO held, goes_on, differs
    FROM (
        SELECT e.seq, e.leaf, true AS whole FROM public.stamp_events e
        WHERE e.stream_id = a_stream AND e.seq >= first_seq AND e.seq <= next_seq
        UNION ALL
        SELECT w.seq, w.leaf, false FROM public.withheld w
        WHERE w.stream_id = a_stream AND w.seq >= first_seq AND w.seq <= next_seq) h;
    IF differs IS NOT NULL THEN
        PERFORM public.stampd_refuse('ST001', format(
            'EQUIVOCATION: stream %s holds another stamp at seq %s', a_stream, differs), differs);
    END IF;
END $$;

-- What the columns of stamp_events say of a body. Planned as a part of the statement that uses it, as
-- the next one is.
CREATE FUNCTION public.stampd_event_of(body jsonb)
RETURNS TABLE (kind text, namespace text, repo text, path text, from_path text, digest text,
    prev text, size bigint, mode integer, mtime timestamptz, seen timestamptz, stamped timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT body->>'kind', body->>'namespace', body->>'repo', body->>'path', body->>'from',
        body->>'digest', body->>'prev', (body->>'size')::bigint, (body->>'mode')::integer,
        (body->>'mtime')::timestamptz, (body->>'seen')::timestamptz,
        (body->>'stamped')::timestamptz
$$;

-- What the columns of metadata_stamps say of a body's content; of an api stamp, what was asked for.
CREATE FUNCTION public.stampd_content_of(body jsonb)
RETURNS TABLE (file_hash text, file_path text, file_size bigint, content_type text,
    namespace text, protocol_version text, metadata_version text, stamp_data jsonb,
    intelligence_data jsonb, file_metadata jsonb, version integer, op_id uuid,
    created_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT body->>'digest', body->>'path', (body->>'size')::bigint,
        left(body->'file'->>'content_type', 255), body->>'namespace',
        coalesce(api->>'protocol_version', '1.0'), coalesce(api->>'metadata_version', '0.1'),
        coalesce((api->>'stamp_data')::jsonb, '{}')
            || jsonb_build_object('hash', body->'digest', 'namespace', body->'namespace',
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
        coalesce((api->>'version')::integer, 1), (api->>'op_id')::uuid,
        (body->>'stamped')::timestamptz
    FROM (SELECT body->'api' AS api OFFSET 0) of_api -- a fence, so that it is taken out once
$$;

-- The leaf of a body that is what it should be and where it should be; an error for any other.
CREATE FUNCTION public.stampd_proved(
    a_stream uuid, at_seq bigint, words text, body jsonb, leaf bytea) RETURNS bytea
LANGUAGE sql AS $$
    SELECT CASE
        WHEN sha256('\x00'::bytea || convert_to(words, 'UTF8')) <> leaf
            THEN public.stampd_refuse('22000', 'the leaf is not that of the body', at_seq)
        WHEN body->>'stream' IS DISTINCT FROM a_stream::text
                OR body->>'seq' IS DISTINCT FROM at_seq::text
            THEN public.stampd_refuse('22000', 'the body is of another position', at_seq)
        ELSE leaf
    END
$$;

-- Inserts the bodies that are not there yet, each checked against its leaf and its position, and
-- what is known of their contents. Returns how many are new.
CREATE FUNCTION public.stampd_insert_bodies(
    a_stream uuid, first_seq bigint, bodies text[], leaves bytea, stamp_ids bytea) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    added bigint;
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
        SELECT a_stream, g.seq, public.stampd_proved(a_stream, g.seq, g.words, g.body, g.leaf),
            e.*, g.body
        FROM given g, public.stampd_event_of(g.body) e
        ON CONFLICT DO NOTHING
        RETURNING seq, kind, digest, body
    ), contents AS (
        INSERT INTO public.metadata_stamps (id, file_hash, file_path, file_size, content_type,
            namespace, protocol_version, metadata_version, stamp_data, intelligence_data,
            file_metadata, version, op_id, created_at, updated_at)
        SELECT encode(substring(stamp_ids FROM (16 * (seq - first_seq))::int + 1 FOR 16), 'hex')::uuid,
            c.*, c.created_at
        FROM events, public.stampd_content_of(body) c
        WHERE kind IN ('created', 'modified', 'renamed', 'api') AND digest IS NOT NULL
        -- One order for all, so that two batches of the same contents cannot deadlock.
        ORDER BY c.file_hash, c.namespace, c.file_path
        -- Without a target: the id may be there as well as the content.
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) INTO added FROM events;
    RETURN added;
END $$;

-- Inserts the withheld positions that are not held in any form; returns how many were new.
CREATE FUNCTION public.stampd_insert_withheld(
    a_stream uuid, first_seq bigint, bodies text[], leaves bytea, reasons text[],
    sinces timestamptz[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    added bigint;
BEGIN
    IF array_position(bodies, NULL) IS NULL THEN
        RETURN 0;
    END IF;
    INSERT INTO public.withheld (stream_id, seq, leaf, reason, since)
    SELECT a_stream, first_seq + i - 1, substring(leaves FROM (32 * (i - 1))::int + 1 FOR 32),
        reason, since
    FROM unnest(bodies, reasons, sinces) WITH ORDINALITY AS w (body, reason, since, i)
    WHERE body IS NULL AND NOT EXISTS (
        SELECT FROM public.stamp_events e WHERE e.stream_id = a_stream AND e.seq = first_seq + i - 1)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
    RETURN added;
END $$;

-- The end of the contiguous prefix when a gap was closed and what was stored beyond it follows on:
-- `so_far` positions are held, and the next one as well.
CREATE FUNCTION public.stampd_prefix(a_stream uuid, so_far bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT max(seq) + 1
        FROM (
            SELECT seq, seq - row_number() OVER (ORDER BY seq) AS island
            FROM (
                SELECT seq FROM public.stamp_events WHERE stream_id = a_stream AND seq >= so_far
                UNION
                SELECT seq FROM public.withheld WHERE stream_id = a_stream AND seq >= so_far) held
        ) numbered
        WHERE island = so_far - 1);
END $$;

-- Writes down the stream's new size, and what its newest body says of it.
CREATE FUNCTION public.stampd_describe(
    a_stream uuid, new_size bigint, first_seq bigint, bodies text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    newest jsonb;
    opened jsonb;
BEGIN
    FOR i IN REVERSE cardinality(bodies)..1 LOOP
        newest := bodies[i];
        EXIT WHEN newest IS NOT NULL;
    END LOOP;
    UPDATE public.streams SET
        size = new_size,
        last_seen = now(),
        agent_id = coalesce(newest->'agent'->>'id', agent_id),
        agent_version = coalesce(newest->'agent'->>'version', agent_version),
        repo = coalesce(newest->>'repo', repo),
        namespace = coalesce(newest->>'namespace', namespace)
    WHERE stream_id = a_stream;
    IF first_seq = 0 THEN
        opened := bodies[1];
        UPDATE public.streams SET epoch = 1 + coalesce((
            SELECT p.epoch FROM public.streams p
            WHERE p.stream_id = (opened->'previous'->>'stream')::uuid), 0)
        WHERE stream_id = a_stream AND opened ? 'previous';
    END IF;
END $$;

-- Appends a piece of one stream, and returns what the stream is then.
--
-- Position first_seq + i has the i-th element of bodies, NULL where it is withheld, for the i-th
-- reason since the i-th time; the i-th 32 bytes of leaves; and, where the body is of a content,
-- the i-th 16 bytes of stamp_ids as the content's id. A piece that begins beyond the stream's size
-- is not taken, unless a server says `beyond`: the size returned tells where to begin.
--
-- Idempotent: what is there already counts as a duplicate. Whole: an error takes nothing. One
-- transaction that appends to several streams takes them in the order of their ids.
CREATE FUNCTION public.stampd_append(
    a_stream uuid, first_seq bigint, bodies text[], leaves bytea, stamp_ids bytea,
    reasons text[], sinces timestamptz[], beyond boolean,
    OUT new_size bigint, OUT head bytea, OUT accepted bigint, OUT duplicates bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- Plans are kept with the session, made when the tables may still be empty, and good for all values.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    given    CONSTANT bigint := cardinality(bodies);
    next_seq CONSTANT bigint := first_seq + given;
    known    record;
BEGIN
    PERFORM public.stampd_check(first_seq, bodies, leaves, stamp_ids, reasons, sinces, beyond);
    -- What is confirmed is on disk, whatever the server's default; a stronger default stays.
    IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    new_size := coalesce(public.stampd_lock(a_stream, first_seq = 0 OR beyond), 0);
    accepted := 0;
    duplicates := 0;
    IF first_seq <= new_size OR beyond THEN
        known := public.stampd_compare(a_stream, first_seq, next_seq, leaves);
        IF known.held < given THEN
            accepted :=
                public.stampd_insert_bodies(a_stream, first_seq, bodies, leaves, stamp_ids)
                + public.stampd_insert_withheld(
                    a_stream, first_seq, bodies, leaves, reasons, sinces);
        END IF;
        duplicates := given - accepted;
        IF first_seq <= new_size AND new_size < next_seq THEN
            new_size := CASE WHEN known.goes_on
                THEN public.stampd_prefix(a_stream, next_seq) ELSE next_seq END;
        END IF;
        PERFORM public.stampd_describe(a_stream, new_size, first_seq, bodies);
    END IF;
    head := CASE WHEN new_size = next_seq
        THEN substring(leaves FROM (32 * (given - 1))::int + 1)
        ELSE public.stampd_leaf(a_stream, new_size - 1) END;
END $$;

-- A function can be executed by anyone unless it is said otherwise.
REVOKE ALL ON FUNCTION
    public.stampd_refuse, public.stampd_check, public.stampd_is_server, public.stampd_lock,
    public.stampd_leaf, public.stampd_compare, public.stampd_event_of, public.stampd_content_of,
    public.stampd_proved, public.stampd_insert_bodies, public.stampd_insert_withheld,
    public.stampd_prefix, public.stampd_describe, public.stampd_append
    FROM PUBLIC;
