//! What bridges have aggregated: counters to which each event adds once, and the newest word on the
//! rest.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::to_text;
use crate::model::operation::{Bridge, Event, Operation, Origin};

/// Only events that are in no counter yet are looked at further; a sum that a counter cannot hold
/// is an error of the data.
pub(super) const WRITE: &str = "
    WITH given AS (
        SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[],
            $6::text[], $7::text[], $8::timestamptz[], $9::text[])
            AS g (event_key, bridge_id, namespace, workflows, items, metadata, state, at, told_by)
    ), fresh AS (
        INSERT INTO public.bridge_state_events (event_key, bridge_id)
        SELECT event_key, bridge_id FROM given ORDER BY event_key
        ON CONFLICT DO NOTHING
        RETURNING event_key
    ), told AS (
        SELECT DISTINCT ON (bridge_id) given.*,
            sum(workflows) OVER of_bridge AS all_workflows, sum(items) OVER of_bridge AS all_items
        FROM given JOIN fresh USING (event_key)
        WINDOW of_bridge AS (PARTITION BY bridge_id)
        ORDER BY bridge_id, told_by COLLATE \"C\" DESC
    )
    INSERT INTO public.bridge_states AS b (bridge_id, namespace, total_workflows_processed,
        total_items_aggregated, aggregation_metadata, current_fsm_state,
        last_aggregation_timestamp, aggregated_by)
    SELECT bridge_id, namespace, all_workflows, all_items, metadata::jsonb, state, at, told_by
    FROM told ORDER BY bridge_id
    ON CONFLICT (bridge_id) DO UPDATE SET
        total_workflows_processed =
            b.total_workflows_processed + EXCLUDED.total_workflows_processed,
        total_items_aggregated = b.total_items_aggregated + EXCLUDED.total_items_aggregated,
        (namespace, aggregation_metadata, current_fsm_state, last_aggregation_timestamp,
            aggregated_by) = (
            SELECT n.namespace, n.metadata, n.state, n.at, n.told_by
            FROM (VALUES
                (EXCLUDED.namespace, EXCLUDED.aggregation_metadata, EXCLUDED.current_fsm_state,
                    EXCLUDED.last_aggregation_timestamp, EXCLUDED.aggregated_by),
                (b.namespace, b.aggregation_metadata, b.current_fsm_state,
                    b.last_aggregation_timestamp, b.aggregated_by))
                AS n (namespace, metadata, state, at, told_by)
            ORDER BY n.told_by DESC LIMIT 1)";

/// The statement's arrays.
#[derive(Default)]
struct Columns<'e> {
    event_key: Vec<&'e str>,
    bridge_id: Vec<Uuid>,
    namespace: Vec<&'e str>,
    workflows: Vec<i64>,
    items: Vec<i64>,
    metadata: Vec<String>,
    state: Vec<&'e str>,
    at: Vec<SystemTime>,
    told_by: Vec<String>,
}

/// Adds to the counters.
pub(super) async fn write<'e>(
    client: &Client,
    statement: &Statement,
    events: impl Iterator<Item = &'e Event>,
) -> Result<(), tokio_postgres::Error> {
    // An event that is twice in a batch is one row of the statement.
    let mut once: BTreeMap<&str, (&Origin, &Bridge)> = BTreeMap::new();
    for event in events {
        if let Operation::Bridge(bridge) = &event.operation {
            once.entry(&event.origin.key).or_insert((&event.origin, bridge));
        }
    }
    if once.is_empty() {
        return Ok(());
    }
    let mut columns = Columns::default();
    for (origin, bridge) in once.into_values() {
        columns.push(origin, bridge);
    }
    columns.send(client, statement).await
}

impl<'e> Columns<'e> {
    fn push(&mut self, origin: &'e Origin, bridge: &'e Bridge) {
        self.event_key.push(&origin.key);
        self.bridge_id.push(bridge.bridge_id);
        self.namespace.push(&bridge.namespace);
        self.workflows.push(bridge.total_workflows_processed);
        self.items.push(bridge.total_items_aggregated);
        self.metadata.push(to_text(&bridge.aggregation_metadata));
        self.state.push(&bridge.current_fsm_state);
        self.at.push(bridge.last_aggregation_timestamp.unwrap_or(origin.at).into());
        self.told_by.push(origin.order());
    }

    async fn send(
        &self,
        client: &Client,
        statement: &Statement,
    ) -> Result<(), tokio_postgres::Error> {
        client
            .execute(
                statement,
                &[
                    &self.event_key,
                    &self.bridge_id,
                    &self.namespace,
                    &self.workflows,
                    &self.items,
                    &self.metadata,
                    &self.state,
                    &self.at,
                    &self.told_by,
                ],
            )
            .await?;
        Ok(())
    }
}
