-- Who may do what. Logins are made by whoever runs the database, and granted one of these:
--
--   CREATE ROLE alice LOGIN PASSWORD '…' IN ROLE stampd_agent;
--
-- Roles belong to the whole server and may be there from another database, or be made for one at
-- this moment.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['stampd_agent', 'stampd_server'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database's migration was faster
            END;
        END IF;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA public TO stampd_agent, stampd_server;

-- An agent reads the record and appends to its own streams, nothing else.
GRANT SELECT ON public.stampd_schema, public.stampd_ledger, public.streams, public.stamp_events,
    public.withheld, public.metadata_stamps
    TO stampd_agent, stampd_server;
GRANT EXECUTE ON FUNCTION public.stampd_append TO stampd_agent, stampd_server;
