//! Every kind of event in every accepted shape, on topics of both spellings, to its rows.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Stage, uuid};

/// The decoder's own cases.
#[derive(Deserialize)]
struct Golden {
    slug: String,
    shapes: BTreeMap<String, Value>,
}

const CASES: [&str; 8] = [
    include_str!("../../cases/adapter/workflow-started.json"),
    include_str!("../../cases/adapter/workflow-completed.json"),
    include_str!("../../cases/adapter/workflow-failed.json"),
    include_str!("../../cases/adapter/step-completed.json"),
    include_str!("../../cases/adapter/stamp-created.json"),
    include_str!("../../cases/adapter/state-transition.json"),
    include_str!("../../cases/adapter/state-aggregation-completed.json"),
    include_str!("../../cases/adapter/node-heartbeat.json"),
];

/// The domain of a kind of event in the shorter spelling.
fn domain(slug: &str) -> &'static str {
    match slug {
        "stamp-created" => "stamping",
        "state-transition" | "state-aggregation-completed" => "reducer",
        "node-heartbeat" => "registry",
        _ => "orchestrator",
    }
}

/// How many rows tell of an event whose subject is `id`, and as what.
fn query(slug: &str, id: &str) -> String {
    match slug {
        "workflow-started" => format!(
            "workflow_executions WHERE correlation_id = '{id}' AND current_state = 'processing' \
             AND workflow_type = 'metadata_stamping' AND started_at = '2025-10-08T12:00:00Z' \
             AND metadata = '{{\"n\": 1.5, \"source\": \"api\"}}'"
        ),
        "workflow-completed" => format!(
            "workflow_executions WHERE correlation_id = '{id}' AND current_state = 'COMPLETED' \
             AND workflow_type = 'unknown' AND execution_time_ms = 1500 \
             AND completed_at = '2025-10-08T10:00:01.5Z'"
        ),
        "workflow-failed" => format!(
            "workflow_executions WHERE correlation_id = '{id}' AND current_state = 'failed' \
             AND error_message = 'no such host'"
        ),
        "step-completed" => format!(
            "pending_steps WHERE workflow = '{id}' AND step_name = 'hash' AND step_order = 0 \
             AND status = 'completed'"
        ),
        "stamp-created" => format!(
            "metadata_stamps WHERE file_path = '/{id}' AND file_size = 0 AND version = 2 \
             AND namespace = 'omninode.services.metadata'"
        ),
        "state-transition" => format!(
            "fsm_transitions WHERE entity_id = '{id}' AND from_state IS NULL \
             AND to_state = 'PENDING' AND transition_event = 'created'"
        ),
        "state-aggregation-completed" => format!(
            "bridge_states WHERE bridge_id = '{id}' AND total_workflows_processed = 3 \
             AND total_items_aggregated = 0 AND current_fsm_state = 'idle'"
        ),
        "node-heartbeat" => format!(
            "node_registrations WHERE node_id = '{id}' AND health_status = 'HEALTHY' \
             AND node_type = 'effect' AND node_version = '1.2.0'"
        ),
        other => panic!("no table for {other}"),
    }
}

/// A shape with a subject and an identity of its own.
fn own(shape: &Value, id: &str) -> String {
    shape
        .to_string()
        .replace("11111111-1111-4111-8111-111111111111", id)
        .replace("22222222-2222-4222-8222-222222222222", &uuid())
        .replace("\"node-1\"", &format!("{id:?}"))
        .replace("/a.txt", &format!("/{id}"))
}

#[test]
fn every_slug_in_every_shape_and_spelling_becomes_its_row_once() {
    let stage = Stage::new();
    let mut sent = Vec::new();
    for golden in CASES.map(|text| serde_json::from_str::<Golden>(text).unwrap()) {
        let slug = golden.slug;
        let topics = [stage.long(&slug), stage.short(domain(&slug), &slug)];
        for topic in &topics {
            stage.topic(topic, 1);
        }
        for (shape, value) in golden.shapes {
            let id = uuid();
            // Twice, by both spellings: with an identity of its own it is one event.
            let text = own(&value, &id);
            for topic in &topics {
                let bytes = text.as_bytes();
                stage.send_bytes(
                    topic,
                    Some(id.as_bytes()),
                    Some(bytes),
                    &[("ce_id", id.as_bytes())],
                );
            }
            sent.push((slug.clone(), shape, id));
        }
    }
    stage.flush();
    let adapter = stage.start("adapter");
    for (slug, shape, id) in &sent {
        let rows = query(slug, id);
        stage.wait_count(&rows, 1);
        assert_eq!(stage.count("adapter_dead"), 0, "{slug} {shape}");
    }
    assert!(adapter.process.terminate().success());
    for (slug, shape, id) in &sent {
        assert_eq!(stage.count(&query(slug, id)), 1, "{slug} {shape}");
    }
}
