-- The adapter's side: workflows, steps, transitions, bridges and nodes as Kafka's events tell of
-- them, how far each topic was read, and what could not be taken.
--
-- Columns have their published names. Ours beside them make the order of arrival immaterial:
-- event_key is the event's identity, and what happens once per event happens once per key; a *_by
-- column holds time and key of the newest event that a row's values are from, as text that sorts so.

CREATE FUNCTION public.stampd_touch() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;

-- Whether one such text is of a newer event than the other, which may be none.
CREATE FUNCTION public.stampd_newer(given text, held text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(given COLLATE "C" > held COLLATE "C", given IS NOT NULL)
$$;

CREATE TABLE public.workflow_executions (
    id                uuid         PRIMARY KEY,
    correlation_id    uuid         NOT NULL UNIQUE,
    workflow_type     varchar(100) NOT NULL DEFAULT 'unknown',
    current_state     varchar(50)  NOT NULL,
    namespace         varchar(255) NOT NULL DEFAULT 'omninode.services.metadata',
    started_at        timestamptz  NOT NULL,
    completed_at      timestamptz,
    execution_time_ms bigint       CHECK (execution_time_ms >= 0),
    error_message     text         CHECK (length(error_message) <= 2000),
    -- What came with the beginning, overlaid with what came with the end.
    metadata          jsonb        NOT NULL GENERATED ALWAYS AS (started_metadata || finished_metadata) STORED,
    created_at        timestamptz  NOT NULL DEFAULT now(),
    updated_at        timestamptz  NOT NULL DEFAULT now(),
    started_metadata  jsonb        NOT NULL DEFAULT '{}',
    finished_metadata jsonb        NOT NULL DEFAULT '{}',
    started_by        text         COLLATE "C",
    finished_by       text         COLLATE "C"
) WITH (fillfactor = 80);
CREATE INDEX workflow_executions_recent ON public.workflow_executions (namespace, started_at DESC);
CREATE TRIGGER workflow_executions_touch BEFORE UPDATE ON public.workflow_executions
    FOR EACH ROW EXECUTE FUNCTION public.stampd_touch();

CREATE TABLE public.workflow_steps (
    id                uuid         PRIMARY KEY,
    workflow_id       uuid         NOT NULL REFERENCES public.workflow_executions ON DELETE CASCADE,
    step_name         varchar(100) NOT NULL,
    step_order        integer      NOT NULL CHECK (step_order >= 0),
    status            varchar(50)  NOT NULL
        CHECK (upper(status) IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'SKIPPED')),
    execution_time_ms bigint       CHECK (execution_time_ms >= 0),
    step_data         jsonb        NOT NULL DEFAULT '{}',
    error_message     text         CHECK (length(error_message) <= 2000),
    created_at        timestamptz  NOT NULL,
    event_key         text         COLLATE "C" NOT NULL UNIQUE
);
CREATE INDEX workflow_steps_of ON public.workflow_steps (workflow_id, step_order);

-- Steps whose workflow nobody has told of yet, as they will be.
CREATE TABLE public.pending_steps (
    event_key         text         COLLATE "C" PRIMARY KEY,
    id                uuid         NOT NULL,
    workflow          uuid         NOT NULL, -- its id or its correlation id
    step_name         varchar(100) NOT NULL,
    step_order        integer      NOT NULL,
    status            varchar(50)  NOT NULL,
    execution_time_ms bigint,
    step_data         jsonb        NOT NULL,
    error_message     text,
    created_at        timestamptz  NOT NULL,
    received_at       timestamptz  NOT NULL DEFAULT now()
);
CREATE INDEX pending_steps_of ON public.pending_steps (workflow);

CREATE TABLE public.fsm_transitions (
    id               uuid         PRIMARY KEY,
    entity_id        uuid         NOT NULL,
    entity_type      varchar(100) NOT NULL,
    from_state       varchar(50),
    to_state         varchar(50)  NOT NULL,
    transition_event varchar(100) NOT NULL,
    transition_data  jsonb        NOT NULL DEFAULT '{}',
    created_at       timestamptz  NOT NULL,
    event_key        text         COLLATE "C" NOT NULL UNIQUE
);
CREATE INDEX fsm_transitions_of ON public.fsm_transitions (entity_id, created_at);

CREATE TABLE public.bridge_states (
    bridge_id                  uuid         PRIMARY KEY,
    namespace                  varchar(255) NOT NULL,
    total_workflows_processed  bigint       NOT NULL CHECK (total_workflows_processed >= 0),
    total_items_aggregated     bigint       NOT NULL CHECK (total_items_aggregated >= 0),
    aggregation_metadata       jsonb        NOT NULL DEFAULT '{}',
    current_fsm_state          varchar(50)  NOT NULL,
    last_aggregation_timestamp timestamptz  NOT NULL,
    created_at                 timestamptz  NOT NULL DEFAULT now(),
    updated_at                 timestamptz  NOT NULL DEFAULT now(),
    aggregated_by              text         COLLATE "C" NOT NULL
) WITH (fillfactor = 50); -- its rows change with every event, and stay on their page so
CREATE TRIGGER bridge_states_touch BEFORE UPDATE ON public.bridge_states
    FOR EACH ROW EXECUTE FUNCTION public.stampd_touch();

-- Which events are in the counters of bridge_states.
CREATE TABLE public.bridge_state_events (
    event_key   text        COLLATE "C" PRIMARY KEY,
    bridge_id   uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE public.node_registrations (
    node_id        varchar(255) PRIMARY KEY,
    node_type      varchar(100) NOT NULL DEFAULT 'unknown',
    node_version   varchar(50)  NOT NULL DEFAULT 'unknown',
    capabilities   jsonb        NOT NULL DEFAULT '{}',
    endpoints      jsonb        NOT NULL DEFAULT '{}',
    metadata       jsonb        NOT NULL DEFAULT '{}',
    health_status  varchar(50)  NOT NULL DEFAULT 'UNKNOWN',
    last_heartbeat timestamptz,
    registered_at  timestamptz  NOT NULL DEFAULT now(),
    updated_at     timestamptz  NOT NULL DEFAULT now(),
    -- What a heartbeat leaves out, an older one may have said.
    type_by         text        COLLATE "C",
    version_by      text        COLLATE "C",
    capabilities_by text        COLLATE "C",
    endpoints_by    text        COLLATE "C",
    heard_by        text        COLLATE "C"
) WITH (fillfactor = 50); -- as above
CREATE TRIGGER node_registrations_touch BEFORE UPDATE ON public.node_registrations
    FOR EACH ROW EXECUTE FUNCTION public.stampd_touch();

-- How far a group has read each partition. Changed only from the value that the reader last knew,
-- in the transaction of the rows that it read up to there.
CREATE TABLE public.adapter_offsets (
    consumer_group text        NOT NULL,
    topic          text        NOT NULL,
    partition      integer     NOT NULL CHECK (partition >= 0),
    next_offset    bigint      NOT NULL CHECK (next_offset >= 0),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 50); -- as above

-- Records that could not be taken, whole. Where they lay is no identity: a topic that is made anew
-- counts from 0 again.
CREATE TABLE public.adapter_dead (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic            text        NOT NULL,
    partition        integer     NOT NULL,
    record_offset    bigint      NOT NULL,
    record_timestamp timestamptz NOT NULL,
    key              bytea,
    value            bytea,
    header_names     text[]      NOT NULL DEFAULT '{}',
    header_values    bytea[]     NOT NULL DEFAULT '{}', -- NULL where a header has none
    error_type       text        NOT NULL,
    error_message    text        NOT NULL,
    error_context    jsonb       NOT NULL DEFAULT '{}',
    failed_at        timestamptz NOT NULL DEFAULT now(),
    retry_count      integer     NOT NULL DEFAULT 0,
    published_at     timestamptz, -- when it went onto the topic's .dlq
    resolved_at      timestamptz, -- when a retry took it
    CHECK (cardinality(header_names) = cardinality(header_values))
);
CREATE INDEX adapter_dead_unpublished ON public.adapter_dead (id) WHERE published_at IS NULL;
CREATE INDEX adapter_dead_open ON public.adapter_dead (id) WHERE resolved_at IS NULL;

-- Pieces of streams that were skipped: first_seq to before next_seq is missing, or was until
-- closed_at.
CREATE TABLE public.gaps (
    stream_id uuid        NOT NULL,
    first_seq bigint      NOT NULL CHECK (first_seq >= 0),
    next_seq  bigint      NOT NULL CHECK (next_seq > first_seq),
    opened_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    PRIMARY KEY (stream_id, next_seq)
);
CREATE INDEX gaps_open ON public.gaps (stream_id) WHERE closed_at IS NULL;

-- Opens a gap where pieces of streams begin beyond what is held before them, and closes the gaps
-- of these streams that are filled. Called after the pieces are appended, which locked the streams.
CREATE FUNCTION public.stampd_gaps(stream_ids uuid[], first_seqs bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    INSERT INTO public.gaps (stream_id, first_seq, next_seq)
    SELECT p.stream_id, b.first_seq, p.first_seq
    FROM unnest(stream_ids, first_seqs) AS p (stream_id, first_seq)
    CROSS JOIN LATERAL (
        SELECT 1 + greatest(-1,
            (SELECT max(e.seq) FROM public.stamp_events e
                WHERE e.stream_id = p.stream_id AND e.seq < p.first_seq),
            (SELECT max(w.seq) FROM public.withheld w
                WHERE w.stream_id = p.stream_id AND w.seq < p.first_seq)) AS first_seq) b
    WHERE b.first_seq < p.first_seq AND NOT EXISTS (
        -- A gap that is filled from its end is one gap still.
        SELECT FROM public.gaps g
        WHERE g.stream_id = p.stream_id AND g.closed_at IS NULL
            AND g.first_seq <= b.first_seq AND g.next_seq >= p.first_seq)
    ORDER BY p.stream_id, p.first_seq
    ON CONFLICT DO NOTHING;
    UPDATE public.gaps g SET closed_at = now()
    FROM public.streams s
    WHERE g.closed_at IS NULL AND g.stream_id = ANY (stream_ids) AND s.stream_id = g.stream_id
        -- The position at the stream's size is missing, and so a gap that it lies in is open.
        AND (s.size >= g.next_seq OR s.size < g.first_seq AND g.next_seq - g.first_seq = (
            SELECT count(*) FROM (
                SELECT seq FROM public.stamp_events
                WHERE stream_id = g.stream_id AND seq >= g.first_seq AND seq < g.next_seq
                UNION
                SELECT seq FROM public.withheld
                WHERE stream_id = g.stream_id AND seq >= g.first_seq AND seq < g.next_seq) held));
END $$;

REVOKE ALL ON FUNCTION public.stampd_gaps, public.stampd_newer, public.stampd_touch FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.stampd_gaps, public.stampd_newer TO stampd_server;
GRANT SELECT, INSERT, UPDATE ON public.workflow_executions, public.bridge_states,
    public.node_registrations, public.adapter_offsets, public.adapter_dead TO stampd_server;
GRANT SELECT, INSERT ON public.workflow_steps, public.fsm_transitions, public.bridge_state_events
    TO stampd_server;
GRANT SELECT, INSERT, DELETE ON public.pending_steps TO stampd_server;
GRANT SELECT ON public.gaps TO stampd_server;
GRANT INSERT ON public.metadata_stamps TO stampd_server;
