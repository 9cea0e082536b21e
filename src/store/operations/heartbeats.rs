//! Nodes, from their heartbeats: each value is from the newest heartbeat that says it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tokio_postgres::{Client, Statement};

use super::to_text;
use crate::model::operation::{Event, Heartbeat, Operation, Origin};
use crate::runtime::time::Timestamp;

pub(super) const WRITE: &str = "
    INSERT INTO public.node_registrations AS n (node_id, health_status, metadata, last_heartbeat,
        heard_by, node_type, type_by, node_version, version_by, capabilities, capabilities_by,
        endpoints, endpoints_by)
    SELECT node_id, health_status, metadata::jsonb, last_heartbeat, heard_by,
        coalesce(node_type, 'unknown'), type_by, coalesce(node_version, 'unknown'), version_by,
        coalesce(capabilities::jsonb, '{}'), capabilities_by,
        coalesce(endpoints::jsonb, '{}'), endpoints_by
    FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[],
        $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[])
        AS g (node_id, health_status, metadata, last_heartbeat, heard_by, node_type, type_by,
            node_version, version_by, capabilities, capabilities_by, endpoints, endpoints_by)
    ORDER BY node_id
    ON CONFLICT (node_id) DO UPDATE SET
        (health_status, metadata, last_heartbeat, heard_by) = (
            SELECT h.health_status, h.metadata, h.last_heartbeat, h.heard_by
            FROM (VALUES
                (EXCLUDED.health_status, EXCLUDED.metadata, EXCLUDED.last_heartbeat,
                    EXCLUDED.heard_by),
                (n.health_status, n.metadata, n.last_heartbeat, n.heard_by))
                AS h (health_status, metadata, last_heartbeat, heard_by)
            ORDER BY h.heard_by DESC NULLS LAST LIMIT 1),
        node_type = CASE WHEN public.stampd_newer(EXCLUDED.type_by, n.type_by)
            THEN EXCLUDED.node_type ELSE n.node_type END,
        type_by = greatest(EXCLUDED.type_by, n.type_by),
        node_version = CASE WHEN public.stampd_newer(EXCLUDED.version_by, n.version_by)
            THEN EXCLUDED.node_version ELSE n.node_version END,
        version_by = greatest(EXCLUDED.version_by, n.version_by),
        capabilities = CASE WHEN public.stampd_newer(EXCLUDED.capabilities_by, n.capabilities_by)
            THEN EXCLUDED.capabilities ELSE n.capabilities END,
        capabilities_by = greatest(EXCLUDED.capabilities_by, n.capabilities_by),
        endpoints = CASE WHEN public.stampd_newer(EXCLUDED.endpoints_by, n.endpoints_by)
            THEN EXCLUDED.endpoints ELSE n.endpoints END,
        endpoints_by = greatest(EXCLUDED.endpoints_by, n.endpoints_by)";

/// A value and the heartbeat that says it.
struct Said<T> {
    by: String,
    value: T,
}

impl<T> Said<T> {
    /// Takes a value if its heartbeat is newer.
    fn hear(held: &mut Option<Self>, by: &str, value: Option<T>) {
        let Some(value) = value else { return };
        if held.as_ref().is_none_or(|held| held.by.as_str() < by) {
            *held = Some(Self { by: by.to_owned(), value });
        }
    }
}

/// What is known of one node.
#[derive(Default)]
struct Known<'e> {
    newest: Option<Said<(Timestamp, &'e Heartbeat)>>,
    node_type: Option<Said<&'e str>>,
    node_version: Option<Said<&'e str>>,
    capabilities: Option<Said<&'e Map<String, Value>>>,
    endpoints: Option<Said<&'e Map<String, Value>>>,
}

impl<'e> Known<'e> {
    fn hear(&mut self, origin: &'e Origin, heartbeat: &'e Heartbeat) {
        // When the node spoke counts, not when its word was sent on.
        let at = heartbeat.last_heartbeat.unwrap_or(origin.at);
        let by = Origin { at, key: origin.key.clone() }.order();
        Said::hear(&mut self.newest, &by, Some((at, heartbeat)));
        Said::hear(&mut self.node_type, &by, heartbeat.node_type.as_deref());
        Said::hear(&mut self.node_version, &by, heartbeat.node_version.as_deref());
        Said::hear(&mut self.capabilities, &by, heartbeat.capabilities.as_ref());
        Said::hear(&mut self.endpoints, &by, heartbeat.endpoints.as_ref());
    }
}

/// Writes what the heartbeats tell.
pub(super) async fn write<'e>(
    client: &Client,
    statement: &Statement,
    events: impl Iterator<Item = &'e Event>,
) -> Result<(), tokio_postgres::Error> {
    let mut nodes: BTreeMap<&str, Known<'e>> = BTreeMap::new();
    for event in events {
        if let Operation::Heartbeat(heartbeat) = &event.operation {
            nodes.entry(&heartbeat.node_id).or_default().hear(&event.origin, heartbeat);
        }
    }
    if nodes.is_empty() {
        return Ok(());
    }
    let mut columns = Columns::default();
    for (node_id, known) in nodes {
        columns.push(node_id, known);
    }
    columns.send(client, statement).await
}

/// The statement's arrays.
#[derive(Default)]
struct Columns<'e> {
    node_id: Vec<&'e str>,
    health_status: Vec<&'e str>,
    metadata: Vec<String>,
    last_heartbeat: Vec<SystemTime>,
    heard_by: Vec<String>,
    node_type: Vec<Option<&'e str>>,
    type_by: Vec<Option<String>>,
    node_version: Vec<Option<&'e str>>,
    version_by: Vec<Option<String>>,
    capabilities: Vec<Option<String>>,
    capabilities_by: Vec<Option<String>>,
    endpoints: Vec<Option<String>>,
    endpoints_by: Vec<Option<String>>,
}

impl<'e> Columns<'e> {
    fn push(&mut self, node_id: &'e str, known: Known<'e>) {
        let Some(Said { by, value: (at, heartbeat) }) = known.newest else { return };
        self.node_id.push(node_id);
        self.health_status.push(&heartbeat.health_status);
        self.metadata.push(to_text(&heartbeat.metadata));
        self.last_heartbeat.push(at.into());
        self.heard_by.push(by);
        let (value, by) = split(known.node_type);
        self.node_type.push(value);
        self.type_by.push(by);
        let (value, by) = split(known.node_version);
        self.node_version.push(value);
        self.version_by.push(by);
        let (value, by) = split(known.capabilities);
        self.capabilities.push(value.map(to_text));
        self.capabilities_by.push(by);
        let (value, by) = split(known.endpoints);
        self.endpoints.push(value.map(to_text));
        self.endpoints_by.push(by);
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
                    &self.node_id,
                    &self.health_status,
                    &self.metadata,
                    &self.last_heartbeat,
                    &self.heard_by,
                    &self.node_type,
                    &self.type_by,
                    &self.node_version,
                    &self.version_by,
                    &self.capabilities,
                    &self.capabilities_by,
                    &self.endpoints,
                    &self.endpoints_by,
                ],
            )
            .await?;
        Ok(())
    }
}

fn split<T>(said: Option<Said<T>>) -> (Option<T>, Option<String>) {
    said.map_or((None, None), |Said { by, value }| (Some(value), Some(by)))
}
