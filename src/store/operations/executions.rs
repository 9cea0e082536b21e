//! Workflows, from their beginnings and their ends.
//!
//! A row is from the newest beginning and the newest end that are known of its workflow, whichever
//! came first: the beginning says type, namespace and start, the end says how it ended and decides
//! the state. Where no beginning is known yet, the end stands for it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::to_text;
use crate::model::identity::row_id;
use crate::model::operation::{Event, Finished, Operation, Origin, Started};

pub(super) const WRITE: &str = "
    INSERT INTO public.workflow_executions AS w (id, correlation_id, workflow_type, current_state,
        namespace, started_at, started_metadata, started_by, completed_at, execution_time_ms,
        error_message, finished_metadata, finished_by)
    SELECT id, correlation_id, coalesce(workflow_type, 'unknown'), current_state,
        coalesce(namespace, 'omninode.services.metadata'), started_at,
        coalesce(started_metadata, '{}')::jsonb, started_by, completed_at, execution_time_ms,
        error_message, coalesce(finished_metadata, '{}')::jsonb, finished_by
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
        $7::text[], $8::text[], $9::timestamptz[], $10::bigint[], $11::text[], $12::text[],
        $13::text[])
        AS g (id, correlation_id, workflow_type, current_state, namespace, started_at,
            started_metadata, started_by, completed_at, execution_time_ms, error_message,
            finished_metadata, finished_by)
    ORDER BY correlation_id
    ON CONFLICT (correlation_id) DO UPDATE SET
        (workflow_type, namespace, started_at) = (
            SELECT b.workflow_type, b.namespace, b.started_at
            FROM (VALUES
                (true, EXCLUDED.workflow_type, EXCLUDED.namespace, EXCLUDED.started_at),
                (false, w.workflow_type, w.namespace, w.started_at))
                AS b (newer, workflow_type, namespace, started_at)
            WHERE b.newer = (public.stampd_newer(EXCLUDED.started_by, w.started_by)
                -- Where no beginning is known, the end stands for it.
                OR w.started_by IS NULL
                    AND public.stampd_newer(EXCLUDED.finished_by, w.finished_by))),
        started_metadata = CASE WHEN public.stampd_newer(EXCLUDED.started_by, w.started_by)
            THEN EXCLUDED.started_metadata ELSE w.started_metadata END,
        started_by = greatest(EXCLUDED.started_by, w.started_by),
        current_state = CASE
            WHEN public.stampd_newer(EXCLUDED.finished_by, w.finished_by)
                OR w.finished_by IS NULL
                    AND public.stampd_newer(EXCLUDED.started_by, w.started_by)
            THEN EXCLUDED.current_state ELSE w.current_state END,
        (completed_at, execution_time_ms, error_message, finished_metadata) = (
            SELECT e.completed_at, e.execution_time_ms, e.error_message, e.finished_metadata
            FROM (VALUES
                (true, EXCLUDED.completed_at, EXCLUDED.execution_time_ms, EXCLUDED.error_message,
                    EXCLUDED.finished_metadata),
                (false, w.completed_at, w.execution_time_ms, w.error_message,
                    w.finished_metadata))
                AS e (newer, completed_at, execution_time_ms, error_message, finished_metadata)
            WHERE e.newer = public.stampd_newer(EXCLUDED.finished_by, w.finished_by)),
        finished_by = greatest(EXCLUDED.finished_by, w.finished_by)
    WHERE public.stampd_newer(EXCLUDED.started_by, w.started_by)
        OR public.stampd_newer(EXCLUDED.finished_by, w.finished_by)";

/// What is known of one workflow.
#[derive(Default)]
struct Known<'e> {
    started: Option<(&'e Origin, &'e Started)>,
    finished: Option<(&'e Origin, &'e Finished)>,
}

/// Writes what the events tell of workflows; returns the correlation ids of these.
pub(super) async fn write<'e>(
    client: &Client,
    statement: &Statement,
    events: impl Iterator<Item = &'e Event>,
) -> Result<Vec<Uuid>, tokio_postgres::Error> {
    let known = fold(events);
    if !known.is_empty() {
        Columns::of(&known).send(client, statement).await?;
    }
    Ok(known.into_keys().collect())
}

/// The newest beginning and the newest end of each workflow.
fn fold<'e>(events: impl Iterator<Item = &'e Event>) -> BTreeMap<Uuid, Known<'e>> {
    let mut known: BTreeMap<Uuid, Known<'e>> = BTreeMap::new();
    for event in events {
        let origin = &event.origin;
        match &event.operation {
            Operation::Started(started) => {
                let held = &mut known.entry(started.correlation_id).or_default().started;
                if held.is_none_or(|(newest, _)| newest < origin) {
                    *held = Some((origin, started));
                }
            }
            Operation::Finished(finished) => {
                let held = &mut known.entry(finished.correlation_id).or_default().finished;
                if held.is_none_or(|(newest, _)| newest < origin) {
                    *held = Some((origin, finished));
                }
            }
            Operation::Step(_)
            | Operation::Content(_)
            | Operation::Position(_)
            | Operation::Transition(_)
            | Operation::Bridge(_)
            | Operation::Heartbeat(_)
            | Operation::Query(_) => {}
        }
    }
    known
}

/// The statement's arrays.
#[derive(Default)]
struct Columns<'e> {
    id: Vec<Uuid>,
    correlation_id: Vec<Uuid>,
    workflow_type: Vec<Option<&'e str>>,
    current_state: Vec<&'e str>,
    namespace: Vec<Option<&'e str>>,
    started_at: Vec<SystemTime>,
    started_metadata: Vec<Option<String>>,
    started_by: Vec<Option<String>>,
    completed_at: Vec<Option<SystemTime>>,
    execution_time_ms: Vec<Option<i64>>,
    error_message: Vec<Option<&'e str>>,
    finished_metadata: Vec<Option<String>>,
    finished_by: Vec<Option<String>>,
}

impl<'e> Columns<'e> {
    fn of(known: &BTreeMap<Uuid, Known<'e>>) -> Self {
        let mut columns = Self::default();
        for (correlation_id, known) in known {
            columns.id.push(row_id("workflow_executions", &correlation_id.to_string()));
            columns.correlation_id.push(*correlation_id);
            columns.push_beginning(known);
            columns.push_end(known.finished);
        }
        columns
    }

    /// What the beginning says, or the end in its place.
    fn push_beginning(&mut self, known: &Known<'e>) {
        let (started, finished) = (known.started, known.finished);
        let state = finished.map(|(_, end)| end.current_state.as_str());
        let state = state.or(started.map(|(_, start)| start.current_state.as_str()));
        self.current_state.push(state.unwrap_or_default());
        self.workflow_type.push(match started {
            Some((_, start)) => Some(&start.workflow_type),
            None => finished.and_then(|(_, end)| end.workflow_type.as_deref()),
        });
        self.namespace.push(match started {
            Some((_, start)) => Some(&start.namespace),
            None => finished.and_then(|(_, end)| end.namespace.as_deref()),
        });
        let began = started.map(|(origin, start)| start.started_at.unwrap_or(origin.at));
        let began = began.or(finished.map(|(origin, _)| origin.at));
        self.started_at.push(began.map_or(SystemTime::UNIX_EPOCH, SystemTime::from));
        self.started_metadata.push(started.map(|(_, start)| to_text(&start.metadata)));
        self.started_by.push(started.map(|(origin, _)| origin.order()));
    }

    fn push_end(&mut self, finished: Option<(&'e Origin, &'e Finished)>) {
        let end = finished.map(|(_, end)| end);
        let at = finished.map(|(origin, end)| end.completed_at.unwrap_or(origin.at));
        self.completed_at.push(at.map(SystemTime::from));
        self.execution_time_ms.push(end.and_then(|end| end.execution_time_ms));
        self.error_message.push(end.and_then(|end| end.error_message.as_deref()));
        self.finished_metadata.push(end.map(|end| to_text(&end.metadata)));
        self.finished_by.push(finished.map(|(origin, _)| origin.order()));
    }

    async fn send(
        &self,
        client: &Client,
        statement: &Statement,
    ) -> Result<u64, tokio_postgres::Error> {
        client
            .execute(
                statement,
                &[
                    &self.id,
                    &self.correlation_id,
                    &self.workflow_type,
                    &self.current_state,
                    &self.namespace,
                    &self.started_at,
                    &self.started_metadata,
                    &self.started_by,
                    &self.completed_at,
                    &self.execution_time_ms,
                    &self.error_message,
                    &self.finished_metadata,
                    &self.finished_by,
                ],
            )
            .await
    }
}
