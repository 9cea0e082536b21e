//! Steps, each once, and those that come before their workflow.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::to_text;
use crate::model::identity::row_id;
use crate::model::operation::{Event, Operation, Origin, Step};
use crate::store::error::StoreError;
use crate::store::session::Session;

/// Any number that no other program is likely to lock: "steps" in ASCII.
const LOCK: i64 = 0x73_7465_7073;

/// How many of these workflows are in no row.
pub(super) const ORPHANS: &str = "SELECT count(*) FROM unnest($1::uuid[]) AS g (workflow)
    WHERE NOT EXISTS (SELECT FROM public.workflow_executions WHERE correlation_id = g.workflow)
        AND NOT EXISTS (SELECT FROM public.workflow_executions WHERE id = g.workflow)";

/// Gives each step to its workflow, those that waited for one of `$11` too, or lets it wait.
pub(super) const WRITE: &str = "
    WITH given AS (
        SELECT g.*, coalesce(
            (SELECT w.id FROM public.workflow_executions w WHERE w.correlation_id = g.workflow),
            (SELECT w.id FROM public.workflow_executions w WHERE w.id = g.workflow)) AS workflow_id
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::integer[], $5::text[], $6::bigint[],
            $7::text[], $8::text[], $9::timestamptz[], $10::text[])
            AS g (id, workflow, step_name, step_order, status, execution_time_ms, step_data,
                error_message, created_at, event_key)
    ), names AS (
        SELECT w.id AS workflow_id, n.name FROM public.workflow_executions w
        CROSS JOIN LATERAL (VALUES (w.id), (w.correlation_id)) AS n (name)
        WHERE w.correlation_id = ANY ($11::uuid[])
    ), due AS (
        DELETE FROM public.pending_steps p USING names n WHERE p.workflow = n.name
        RETURNING p.*, n.workflow_id
    ), attached AS (
        INSERT INTO public.workflow_steps (id, workflow_id, step_name, step_order, status,
            execution_time_ms, step_data, error_message, created_at, event_key)
        SELECT id, workflow_id, step_name, step_order, status, execution_time_ms,
            step_data::jsonb, error_message, created_at, event_key
        FROM given WHERE workflow_id IS NOT NULL
        UNION ALL
        SELECT id, workflow_id, step_name, step_order, status, execution_time_ms,
            step_data, error_message, created_at, event_key
        FROM due
        ORDER BY event_key
        ON CONFLICT DO NOTHING
    )
    INSERT INTO public.pending_steps (id, workflow, step_name, step_order, status,
        execution_time_ms, step_data, error_message, created_at, event_key)
    SELECT id, workflow, step_name, step_order, status, execution_time_ms, step_data::jsonb,
        error_message, created_at, event_key
    FROM given WHERE workflow_id IS NULL ORDER BY event_key
    ON CONFLICT DO NOTHING";

/// Sees to it that no step is left waiting for a workflow that comes at the same moment.
///
/// Who writes a workflow looks for steps that wait, and who writes a step looks for its workflow:
/// two at once would miss each other. So a transaction that leaves steps waiting excludes those
/// that bring workflows. Those that bring workflows do not exclude each other.
pub(super) async fn lock(
    client: &Client,
    orphans: &Statement,
    events: &[(usize, &Event)],
) -> Result<(), tokio_postgres::Error> {
    let (mut brought, mut wanted) = (BTreeSet::new(), BTreeSet::new());
    for (_, event) in events {
        match &event.operation {
            Operation::Started(started) => brought.insert(started.correlation_id),
            Operation::Finished(finished) => brought.insert(finished.correlation_id),
            Operation::Step(step) => wanted.insert(step.workflow),
            Operation::Content(_)
            | Operation::Position(_)
            | Operation::Transition(_)
            | Operation::Bridge(_)
            | Operation::Heartbeat(_)
            | Operation::Query(_) => false,
        };
    }
    let wanted: Vec<Uuid> = wanted.difference(&brought).copied().collect();
    let orphans: i64 = match wanted.as_slice() {
        [] => 0,
        wanted => client.query_one(orphans, &[&wanted]).await?.try_get(0)?,
    };
    let lock = match (orphans, brought.is_empty()) {
        (0, true) => return Ok(()),
        (0, false) => "SELECT pg_advisory_xact_lock_shared($1)",
        _ => "SELECT pg_advisory_xact_lock($1)",
    };
    client.execute(lock, &[&LOCK]).await?;
    Ok(())
}

/// By the database's clock.
const WAITING: &str = "SELECT count(*),
        greatest(0, extract(epoch FROM now() - min(received_at)))::double precision
    FROM public.pending_steps";

/// Steps that wait for their workflow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiting {
    /// How many.
    pub steps: u64,
    /// How long the first of them has waited.
    pub longest: Duration,
}

/// Counts the steps that wait.
pub async fn waiting(session: &mut Session) -> Result<Waiting, StoreError> {
    let row = session.run(async |client| client.query_one(WAITING, &[]).await).await?;
    let longest: f64 = row.try_get(1)?;
    Ok(Waiting {
        steps: row.try_get::<_, i64>(0)?.unsigned_abs(),
        longest: Duration::from_secs_f64(longest),
    })
}

/// The statement's arrays.
#[derive(Default)]
struct Columns<'e> {
    id: Vec<Uuid>,
    workflow: Vec<Uuid>,
    step_name: Vec<&'e str>,
    step_order: Vec<i32>,
    status: Vec<&'e str>,
    execution_time_ms: Vec<Option<i64>>,
    step_data: Vec<String>,
    error_message: Vec<Option<&'e str>>,
    created_at: Vec<SystemTime>,
    event_key: Vec<&'e str>,
}

/// Writes the steps, and those that waited for workflows with the correlation ids in `brought`.
pub(super) async fn write<'e>(
    client: &Client,
    statement: &Statement,
    events: impl Iterator<Item = &'e Event>,
    brought: &[Uuid],
) -> Result<(), tokio_postgres::Error> {
    let mut columns = Columns::default();
    for event in events {
        if let Operation::Step(step) = &event.operation {
            columns.push(&event.origin, step);
        }
    }
    if columns.id.is_empty() && brought.is_empty() {
        return Ok(());
    }
    columns.send(client, statement, brought).await
}

impl<'e> Columns<'e> {
    fn push(&mut self, origin: &'e Origin, step: &'e Step) {
        self.id.push(row_id("workflow_steps", &origin.key));
        self.workflow.push(step.workflow);
        self.step_name.push(&step.step_name);
        self.step_order.push(step.step_order);
        self.status.push(&step.status);
        self.execution_time_ms.push(step.execution_time_ms);
        self.step_data.push(to_text(&step.step_data));
        self.error_message.push(step.error_message.as_deref());
        self.created_at.push(origin.at.into());
        self.event_key.push(&origin.key);
    }

    async fn send(
        &self,
        client: &Client,
        statement: &Statement,
        brought: &[Uuid],
    ) -> Result<(), tokio_postgres::Error> {
        client
            .execute(
                statement,
                &[
                    &self.id,
                    &self.workflow,
                    &self.step_name,
                    &self.step_order,
                    &self.status,
                    &self.execution_time_ms,
                    &self.step_data,
                    &self.error_message,
                    &self.created_at,
                    &self.event_key,
                    &brought,
                ],
            )
            .await?;
        Ok(())
    }
}
