//! The events of the model on their topics, and the tables that they become.

use serde_json::{Value, json};
use stampd::model::batch::Entry;
use stampd::model::operation::{
    Bridge, Content, Event, Finished, Heartbeat, Operation, Position, Started, Step, Transition,
};

use super::{LONG, Stage};
use crate::operations::model::{Tables, history_of, model};
use crate::support::block_on;
use crate::support::wait::wait_within;

const SLUGS: [&str; 7] = [
    "workflow-started",
    "workflow-completed",
    "step-completed",
    "stamp-created",
    "state-transition",
    "state-aggregation-completed",
    "node-heartbeat",
];

/// Makes the topics.
pub(super) fn prepare(stage: &Stage) {
    for slug in SLUGS {
        stage.topic(&stage.long(slug), 6);
    }
}

/// Sends an event, under a key that decides its partition.
pub(super) fn send(stage: &Stage, key: &str, event: &Event) {
    let (slug, payload) = told(&event.operation);
    let origin = &event.origin;
    let value = json!({ "event_id": origin.key, "timestamp": origin.at, "payload": payload });
    stage.send(&stage.long(slug), key, &value);
}

/// Waits until the group has read this many records, and holds the tables against the model.
pub(super) fn wait_told(stage: &Stage, records: i64, events: &[Event]) {
    let read = format!(
        "SELECT coalesce(sum(next_offset), 0)::bigint FROM adapter_offsets \
         WHERE consumer_group = '{}'",
        stage.group
    );
    wait_within(LONG, "everything is read", || {
        (stage.value::<i64>(&read) >= records).then_some(())
    });
    let tables = block_on(|| async {
        let admin = stage.database.admin().connect().await;
        Tables::read(&admin).await
    });
    assert_eq!(tables, model(events));
}

/// An operation as a sender tells it, and of which kind.
fn told(operation: &Operation) -> (&'static str, Value) {
    match operation {
        Operation::Started(told) => ("workflow-started", started(told)),
        Operation::Finished(told) => ("workflow-completed", finished(told)),
        Operation::Step(told) => ("step-completed", step(told)),
        Operation::Content(told) => ("stamp-created", content(told)),
        Operation::Position(told) => ("stamp-created", position(told)),
        Operation::Transition(told) => ("state-transition", transition(told)),
        Operation::Bridge(told) => ("state-aggregation-completed", bridge(told)),
        Operation::Heartbeat(told) => ("node-heartbeat", heartbeat(told)),
        Operation::Query(_) => panic!("a question changes no table"),
    }
}

fn started(told: &Started) -> Value {
    json!({
        "correlation_id": told.correlation_id, "workflow_type": told.workflow_type,
        "current_state": told.current_state, "namespace": told.namespace,
        "started_at": told.started_at, "metadata": told.metadata,
    })
}

fn finished(told: &Finished) -> Value {
    json!({
        "correlation_id": told.correlation_id, "workflow_type": told.workflow_type,
        "current_state": told.current_state, "namespace": told.namespace,
        "completed_at": told.completed_at, "metadata": told.metadata,
    })
}

fn step(told: &Step) -> Value {
    json!({
        "workflow_id": told.workflow, "step_name": told.step_name, "step_order": told.step_order,
        "status": told.status, "execution_time_ms": told.execution_time_ms,
        "step_data": told.step_data,
    })
}

fn content(told: &Content) -> Value {
    json!({
        "file_hash": told.file_hash, "namespace": told.namespace, "file_path": told.file_path,
        "file_size": told.file_size, "version": told.version, "stamp_data": told.stamp_data,
    })
}

fn position(told: &Position) -> Value {
    match &told.entry {
        Entry::Stamp(sealed) => {
            let stamp: Value = serde_json::from_str(&sealed.body).expect("a body is JSON");
            json!({ "stamp": stamp })
        }
        Entry::Withheld { leaf, reason, .. } => json!({ "withheld": {
            "stream": told.stream, "seq": told.seq, "leaf": leaf.to_string(), "reason": reason,
        }}),
    }
}

fn transition(told: &Transition) -> Value {
    json!({
        "entity_id": told.entity_id, "entity_type": told.entity_type,
        "from_state": told.from_state, "to_state": told.to_state,
        "transition_event": told.transition_event,
    })
}

fn bridge(told: &Bridge) -> Value {
    json!({
        "bridge_id": told.bridge_id, "namespace": told.namespace,
        "total_workflows_processed": told.total_workflows_processed,
        "total_items_aggregated": told.total_items_aggregated,
        "current_fsm_state": told.current_fsm_state,
    })
}

fn heartbeat(told: &Heartbeat) -> Value {
    json!({
        "node_id": told.node_id, "health_status": told.health_status,
        "node_type": told.node_type, "node_version": told.node_version,
    })
}

#[test]
fn ten_thousand_events_three_times_in_other_orders_make_the_tables_of_a_sequence() {
    let stage = Stage::new();
    prepare(&stage);
    let (events, orders) = history_of(10_000, 3);
    let adapters = [stage.start("one"), stage.start("two")];
    for (round, order) in orders.iter().enumerate() {
        for place in order {
            // Each time in another partition.
            let event = &events[*place];
            send(&stage, &format!("{round} {}", event.origin.key), event);
        }
    }
    stage.flush();
    wait_told(&stage, 3 * events.len() as i64, &events);
    for adapter in adapters {
        assert!(adapter.process.terminate().success());
    }
}
