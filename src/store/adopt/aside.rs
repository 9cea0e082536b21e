//! Tables of another program under the adapter's names: each is renamed and kept, ours is made, and
//! the rows that fit are copied into ours.
//!
//! Nothing of the old table is lost or changed but its name, so a row that does not fit needs no
//! other place: it is counted, and stays where it is. Whatever refers to the old table goes on
//! referring to it.

use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

use super::{AdoptError, SETTINGS};

/// The version of the schema from which on the tables of these names are ours.
pub(in crate::store) const SINCE: i32 = 6;

/// What may be there under our names. Rows are copied in this order, so that a step finds its
/// workflow.
const NAMES: [(&str, Option<&str>); 10] = [
    ("workflow_executions", Some(EXECUTIONS)),
    ("workflow_steps", Some(STEPS)),
    ("fsm_transitions", Some(TRANSITIONS)),
    ("bridge_states", Some(BRIDGES)),
    ("node_registrations", Some(NODES)),
    ("adapter_dead", None),
    ("adapter_offsets", None),
    ("bridge_state_events", None),
    ("gaps", None),
    ("pending_steps", None),
];

/// What another program's table comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// The name, which is ours now.
    pub table: &'static str,
    /// The old table's name from now on.
    pub kept_as: String,
    /// How many rows are in it.
    pub rows: u64,
    /// How many of them are in ours too; unknown before it is tried.
    pub copied: Option<u64>,
}

/// Whether a table of this name may be set aside.
pub(in crate::store) fn is_ours_to_take(table: &str) -> bool {
    NAMES.iter().any(|(name, _)| *name == table)
}

/// Says what is to be set aside of the tables that are there.
pub(in crate::store) async fn look(
    tx: &Transaction<'_>,
    present: &[String],
) -> Result<Vec<Aside>, AdoptError> {
    tx.batch_execute(SETTINGS).await?;
    let mut found = Vec::new();
    for (table, _) in NAMES {
        if !present.iter().any(|name| name == table) {
            continue;
        }
        let row = tx.query_one(LOOK, &[&table]).await?;
        if !row.try_get::<_, bool>(0)? {
            return Err(AdoptError::Unnamable {
                table,
                owner: row.try_get(1)?,
                login: row.try_get(2)?,
            });
        }
        let rows = if row.try_get(3)? {
            let count = format!("SELECT count(*) FROM public.{table}");
            tx.query_one(&count, &[]).await?.try_get::<_, i64>(0)? as u64
        } else {
            0
        };
        found.push(Aside { table, kept_as: row.try_get(4)?, rows, copied: None });
    }
    Ok(found)
}

/// Gives a table and its indexes other names.
pub(in crate::store) async fn rename(
    tx: &Transaction<'_>,
    aside: &Aside,
) -> Result<(), AdoptError> {
    let Aside { table, kept_as, .. } = aside;
    let sql = RENAME.replace("$table", table).replace("$kept", kept_as);
    tx.batch_execute(&sql).await.map_err(|error| match error.code() {
        Some(&SqlState::LOCK_NOT_AVAILABLE) => AdoptError::Used(table),
        _ => error.into(),
    })
}

/// Copies the rows that fit from what was set aside.
pub(in crate::store) async fn copy(
    tx: &Transaction<'_>,
    aside: &mut Aside,
) -> Result<(), AdoptError> {
    let insert =
        NAMES.iter().find(|(name, _)| *name == aside.table).and_then(|(_, insert)| *insert);
    let mut copied = 0;
    if let (Some(insert), 1..) = (insert, aside.rows) {
        tx.batch_execute(SETTINGS).await?;
        let function = COPY.replace("$kept", &aside.kept_as).replace("$insert", insert);
        tx.batch_execute(&function).await?;
        let row = tx.query_one("SELECT pg_temp.stampd_copy()", &[]).await?;
        copied = row.try_get::<_, i64>(0)? as u64;
        tx.batch_execute("DROP FUNCTION pg_temp.stampd_copy()").await?;
    }
    aside.copied = Some(copied);
    Ok(())
}

/// Whether it may be renamed, by whom, whether it has rows, and the first free name for it.
const LOOK: &str = "
    SELECT pg_has_role(c.relowner, 'USAGE'), pg_get_userbyid(c.relowner)::text, current_user::text,
        c.relkind IN ('r', 'p', 'v', 'm', 'f'),
        (SELECT name FROM (
            SELECT $1::text || '_before_stampd' || CASE n WHEN 1 THEN '' ELSE '_' || n END, n
            FROM generate_series(1, 1000) n) AS free (name, n)
            WHERE to_regclass('public.' || name) IS NULL ORDER BY n LIMIT 1)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
    WHERE c.relname = $1";

/// An index's name is free for ours then, and a constraint's with it.
const RENAME: &str = "
    DO $do$ DECLARE
        old record;
    BEGIN
        FOR old IN SELECT i.indexrelid::regclass AS name, i.indexrelid::bigint AS number
            FROM pg_index i WHERE i.indrelid = to_regclass('public.$table')
        LOOP
            EXECUTE format('ALTER INDEX %s RENAME TO $kept_%s', old.name, old.number);
        END LOOP;
        ALTER TABLE public.$table RENAME TO $kept;
    END $do$;
    SET LOCAL search_path TO DEFAULT";

/// Row by row, since one that does not fit must not take the others with it. By way of JSON, columns
/// meet by their names, and values by their texts.
const COPY: &str = "
    CREATE FUNCTION pg_temp.stampd_copy() RETURNS bigint LANGUAGE plpgsql AS $do$
    DECLARE
        old record;
        copied bigint := 0;
    BEGIN
        FOR old IN SELECT to_jsonb(t) AS row FROM public.$kept t LOOP
            BEGIN
                $insert;
                IF FOUND THEN
                    copied := copied + 1;
                END IF;
            EXCEPTION WHEN data_exception OR integrity_constraint_violation
                OR program_limit_exceeded THEN
                NULL; -- it stays where it is
            END;
        END LOOP;
        RETURN copied;
    END $do$";

/// An empty text in a `*_by` column is older than any event.
const EXECUTIONS: &str = "
    INSERT INTO public.workflow_executions (id, correlation_id, workflow_type, current_state,
        namespace, started_at, completed_at, execution_time_ms, error_message, started_metadata,
        created_at, updated_at, started_by, finished_by)
    SELECT id, correlation_id, coalesce(workflow_type, 'unknown'), current_state,
        coalesce(namespace, 'omninode.services.metadata'), coalesce(started_at, created_at, now()),
        completed_at, execution_time_ms, error_message,
        CASE jsonb_typeof(metadata) WHEN 'object' THEN metadata ELSE '{}' END,
        coalesce(created_at, now()), coalesce(updated_at, now()), '',
        CASE WHEN completed_at IS NOT NULL THEN '' END
    FROM jsonb_populate_record(NULL::public.workflow_executions, old.row)
    ON CONFLICT DO NOTHING";

const STEPS: &str = "
    INSERT INTO public.workflow_steps (id, workflow_id, step_name, step_order, status,
        execution_time_ms, step_data, error_message, created_at, event_key)
    SELECT id, workflow_id, step_name, step_order, status, execution_time_ms,
        CASE jsonb_typeof(step_data) WHEN 'object' THEN step_data ELSE '{}' END,
        error_message, coalesce(created_at, now()), 'before stampd ' || id
    FROM jsonb_populate_record(NULL::public.workflow_steps, old.row)
    ON CONFLICT DO NOTHING";

const TRANSITIONS: &str = "
    INSERT INTO public.fsm_transitions (id, entity_id, entity_type, from_state, to_state,
        transition_event, transition_data, created_at, event_key)
    SELECT id, entity_id, entity_type, from_state, to_state, transition_event,
        CASE jsonb_typeof(transition_data) WHEN 'object' THEN transition_data ELSE '{}' END,
        coalesce(created_at, now()), 'before stampd ' || id
    FROM jsonb_populate_record(NULL::public.fsm_transitions, old.row)
    ON CONFLICT DO NOTHING";

const BRIDGES: &str = "
    INSERT INTO public.bridge_states (bridge_id, namespace, total_workflows_processed,
        total_items_aggregated, aggregation_metadata, current_fsm_state,
        last_aggregation_timestamp, created_at, updated_at, aggregated_by)
    SELECT bridge_id, namespace, coalesce(total_workflows_processed, 0),
        coalesce(total_items_aggregated, 0),
        CASE jsonb_typeof(aggregation_metadata) WHEN 'object' THEN aggregation_metadata
            ELSE '{}' END,
        current_fsm_state, coalesce(last_aggregation_timestamp, updated_at, now()),
        coalesce(created_at, now()), coalesce(updated_at, now()), ''
    FROM jsonb_populate_record(NULL::public.bridge_states, old.row)
    ON CONFLICT DO NOTHING";

/// A heartbeat that is older than the one that is known stays so.
const NODES: &str = "
    INSERT INTO public.node_registrations (node_id, node_type, node_version, capabilities,
        endpoints, metadata, health_status, last_heartbeat, registered_at, updated_at, heard_by)
    SELECT node_id, coalesce(node_type, 'unknown'), coalesce(node_version, 'unknown'),
        CASE jsonb_typeof(capabilities) WHEN 'object' THEN capabilities ELSE '{}' END,
        CASE jsonb_typeof(endpoints) WHEN 'object' THEN endpoints ELSE '{}' END,
        CASE jsonb_typeof(metadata) WHEN 'object' THEN metadata ELSE '{}' END,
        coalesce(health_status, 'UNKNOWN'), last_heartbeat, coalesce(registered_at, now()),
        coalesce(updated_at, now()),
        to_char(last_heartbeat AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"000Z\"')
    FROM jsonb_populate_record(NULL::public.node_registrations, old.row)
    ON CONFLICT DO NOTHING";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migrate::MIGRATIONS;

    #[test]
    fn every_table_of_the_adapter_makes_room_for_itself() {
        let made = MIGRATIONS[SINCE as usize - 1].sql().split("CREATE TABLE public.").skip(1);
        let made: Vec<&str> = made.filter_map(|text| text.split([' ', '(']).next()).collect();
        assert_eq!(made.len(), NAMES.len());
        assert!(made.into_iter().all(is_ours_to_take));
    }
}
