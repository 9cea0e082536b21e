-- Ingest: stamps of agents that come through a bridge, each agent known by a token.
--
-- Errors of stampd_ingest beyond those of stampd_append: ST003 the token was revoked; ST004 the
-- stream is not this token's.

-- Who may deliver. A name stands for an agent: its streams stay its own when the token is revoked
-- and another is issued under the same name.
CREATE TABLE public.stampd_tokens (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text        NOT NULL CHECK (name <> ''),
    digest     bytea       NOT NULL UNIQUE CHECK (octet_length(digest) = 32), -- BLAKE3 of the token
    namespaces text[]      NOT NULL DEFAULT '{}', -- in scope; empty for all
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE UNIQUE INDEX stampd_tokens_live ON public.stampd_tokens (name) WHERE revoked_at IS NULL;

ALTER TABLE public.streams
    -- Whose stream it is, when a token has claimed it; its name, since tokens come and go.
    ADD COLUMN token text,
    -- How far it went into the outbox by ingest, whichever road brought the rows.
    ADD COLUMN published bigint NOT NULL DEFAULT 0 CHECK (published >= 0);

-- Locks a stream for a token, and returns whether it is the token's now.
--
-- A stream that came by another road belongs to no token. It becomes that of the first one who
-- tells it from its beginning, and so knows what is in it; until then the answer is no.
CREATE FUNCTION public.stampd_claim(
    a_stream uuid, claimant text, scope text[], first_seq bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    old public.streams;
BEGIN
    SELECT * INTO old FROM public.streams WHERE stream_id = a_stream FOR UPDATE;
    IF NOT FOUND AND first_seq = 0 THEN
        INSERT INTO public.streams (stream_id, writer, token)
            VALUES (a_stream, session_user, claimant) ON CONFLICT DO NOTHING;
        SELECT * INTO old FROM public.streams WHERE stream_id = a_stream FOR UPDATE;
    END IF;
    IF old.stream_id IS NULL THEN
        RETURN false;
    ELSIF old.token <> claimant
            OR (old.token IS NULL AND scope <> '{}' AND NOT old.namespace = ANY (scope)) THEN
        RAISE EXCEPTION USING ERRCODE = 'ST004',
            MESSAGE = format('stream %s is another agent''s', a_stream);
    ELSIF old.token IS NULL AND first_seq = 0 THEN
        UPDATE public.streams SET token = claimant WHERE stream_id = a_stream;
    END IF;
    RETURN old.token IS NOT NULL OR first_seq = 0;
END $$;

-- Appends a piece as stampd_append does, for a token, and puts what is new to the topic into the
-- outbox where `publish` says so. The token is looked at again here, so a revocation acts on the
-- next piece, whatever a bridge remembers.
CREATE FUNCTION public.stampd_ingest(
    a_token bigint, a_stream uuid, first_seq bigint, bodies text[], leaves bytea,
    stamp_ids bytea, reasons text[], sinces timestamptz[], publish boolean,
    OUT new_size bigint, OUT head bytea, OUT accepted bigint, OUT duplicates bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    next_seq CONSTANT bigint := first_seq + cardinality(bodies);
    -- Pieces of the outbox are no longer than pieces of streams.
    piece_max CONSTANT bigint := 5000;
    bearer public.stampd_tokens;
    so_far bigint;
BEGIN
    SELECT * INTO bearer FROM public.stampd_tokens
        WHERE id = a_token AND revoked_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'ST003', MESSAGE = 'the token was revoked';
    ELSIF NOT public.stampd_claim(a_stream, bearer.name, bearer.namespaces, first_seq) THEN
        new_size := 0;
        accepted := 0;
        duplicates := 0;
        RETURN;
    END IF;
    SELECT t.new_size, t.head, t.accepted, t.duplicates
    INTO new_size, head, accepted, duplicates
    FROM public.stampd_append(
        a_stream, first_seq, bodies, leaves, stamp_ids, reasons, sinces, false) t;
    IF NOT publish OR new_size < next_seq THEN
        RETURN;
    END IF;
    SELECT published INTO so_far FROM public.streams WHERE stream_id = a_stream;
    IF new_size > so_far THEN
        -- All of it: a faster road may have brought what the agent now skips.
        PERFORM public.stampd_publish(a_stream, f, least(f + piece_max, new_size))
        FROM generate_series(so_far, new_size - 1, piece_max) f;
        UPDATE public.streams SET published = new_size WHERE stream_id = a_stream;
    END IF;
    IF accepted > 0 AND next_seq <= so_far THEN
        -- Bodies that come after their leaves did; what goes twice has one identity.
        PERFORM public.stampd_publish(a_stream, first_seq, next_seq);
    END IF;
END $$;

REVOKE ALL ON FUNCTION public.stampd_claim, public.stampd_ingest FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.stampd_ingest TO stampd_server;
GRANT SELECT ON public.stampd_tokens TO stampd_server;
GRANT INSERT (name, digest, namespaces), UPDATE (revoked_at) ON public.stampd_tokens
    TO stampd_server;
