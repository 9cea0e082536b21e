//! The tables against a model that is told each event once, in the order in which they happened.
//! The tables are told each three times, in any order, in batches of any size.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use stampd::model::batch::Entry;
use stampd::model::identity::row_id;
use stampd::model::operation::{
    Bridge, Event, Finished, Heartbeat, Operation, Position, Started, Step,
};
use stampd::model::stream::StreamId;
use uuid::Uuid;

use super::{Bench, bridge, content, event, heartbeat, map, rows, transition};
use crate::support::record::{entry, stamp, withheld};
use tokio_postgres::Client;

/// What the tables hold in the end.
#[derive(Debug, Default, PartialEq)]
pub struct Tables {
    workflows: BTreeMap<String, Value>,
    steps: BTreeMap<String, Value>,
    pending: BTreeSet<String>,
    transitions: BTreeSet<String>,
    bridges: BTreeMap<String, Value>,
    nodes: BTreeMap<String, Value>,
    contents: i64,
    bodies: BTreeSet<(String, i64)>,
    sizes: BTreeMap<String, i64>,
    /// Streams in which something is missing.
    broken: BTreeSet<String>,
}

fn workflow(number: u16) -> Uuid {
    Uuid::from_u128(0x1000 + u128::from(number))
}

fn stream(number: u16) -> StreamId {
    // Version 7, as a stream has.
    StreamId::from_uuid(Uuid::from_u128(
        0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(number),
    ))
}

fn second(time: stampd::runtime::time::Timestamp) -> i64 {
    time.as_nanos() / 1_000_000_000 - 1_764_000_000
}

/// Does what the events say, in the order in which they happened.
pub fn model(events: &[Event]) -> Tables {
    let mut tables = Tables::default();
    let mut sorted: Vec<&Event> = events.iter().collect();
    sorted.sort_by(|a, b| a.origin.cmp(&b.origin));
    let mut held: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for event in &sorted {
        let key = event.origin.key.clone();
        match &event.operation {
            Operation::Started(started) => begin(&mut tables, event, started),
            Operation::Finished(finished) => end(&mut tables, event, finished),
            Operation::Bridge(bridge) => aggregate(&mut tables, event, bridge),
            Operation::Heartbeat(heartbeat) => beat(&mut tables, event, heartbeat),
            Operation::Content(_) => tables.contents += 1,
            Operation::Transition(_) => {
                tables.transitions.insert(key);
            }
            Operation::Position(position) => {
                let (stream, seq) = (position.stream.to_string(), position.seq as i64);
                held.entry(stream.clone()).or_default().insert(seq);
                if matches!(position.entry, Entry::Stamp(_)) {
                    tables.bodies.insert((stream, seq));
                }
            }
            Operation::Step(_) | Operation::Query(_) => {}
        }
    }
    for event in sorted {
        let Operation::Step(step) = &event.operation else { continue };
        attach(&mut tables, event, step);
    }
    for (stream, seqs) in held {
        let size = seqs.iter().zip(0..).take_while(|(seq, place)| **seq == *place).count() as i64;
        if size < seqs.len() as i64 {
            tables.broken.insert(stream.clone());
        }
        tables.sizes.insert(stream, size);
    }
    tables
}

fn begin(tables: &mut Tables, event: &Event, started: &Started) {
    let row = tables.workflows.entry(started.correlation_id.to_string()).or_insert(json!({}));
    row["type"] = json!(started.workflow_type);
    row["namespace"] = json!(started.namespace);
    row["began"] = json!(second(started.started_at.unwrap_or(event.origin.at)));
    row["start"] = json!(started.metadata);
    if row["end"].is_null() {
        row["state"] = json!(started.current_state);
        row["completed"] = Value::Null;
    }
}

fn end(tables: &mut Tables, event: &Event, finished: &Finished) {
    let row = tables.workflows.entry(finished.correlation_id.to_string()).or_insert(json!({}));
    if row["start"].is_null() {
        row["type"] = json!(finished.workflow_type.as_deref().unwrap_or("unknown"));
        let default = "omninode.services.metadata";
        row["namespace"] = json!(finished.namespace.as_deref().unwrap_or(default));
        row["began"] = json!(second(event.origin.at));
    }
    row["state"] = json!(finished.current_state);
    row["completed"] = json!(second(finished.completed_at.unwrap_or(event.origin.at)));
    row["end"] = json!(finished.metadata);
}

fn aggregate(tables: &mut Tables, event: &Event, bridge: &Bridge) {
    let row = tables.bridges.entry(bridge.bridge_id.to_string()).or_insert(json!({}));
    let sum = |held: &Value, added: i64| json!(held.as_i64().unwrap_or(0) + added);
    row["workflows"] = sum(&row["workflows"], bridge.total_workflows_processed);
    row["items"] = sum(&row["items"], bridge.total_items_aggregated);
    row["state"] = json!(bridge.current_fsm_state);
    row["at"] = json!(second(bridge.last_aggregation_timestamp.unwrap_or(event.origin.at)));
}

fn beat(tables: &mut Tables, event: &Event, heartbeat: &Heartbeat) {
    let unknown = json!({ "type": "unknown", "version": "unknown" });
    let row = tables.nodes.entry(heartbeat.node_id.clone()).or_insert(unknown);
    row["status"] = json!(heartbeat.health_status);
    row["heard"] = json!(second(event.origin.at));
    if let Some(node_type) = &heartbeat.node_type {
        row["type"] = json!(node_type);
    }
    if let Some(node_version) = &heartbeat.node_version {
        row["version"] = json!(node_version);
    }
}

fn attach(tables: &mut Tables, event: &Event, step: &Step) {
    let of = tables.workflows.keys().find(|correlation_id| {
        step.workflow.to_string() == **correlation_id
            || step.workflow == row_id("workflow_executions", correlation_id)
    });
    let key = event.origin.key.clone();
    match of {
        Some(workflow) => {
            let row = json!({ "workflow": workflow, "order": step.step_order });
            tables.steps.insert(key, row);
        }
        None => {
            tables.pending.insert(key);
        }
    }
}

impl Tables {
    /// As they are.
    pub async fn read(admin: &Client) -> Self {
        let seconds = |column| format!("extract(epoch FROM {column})::bigint - 1764000000");
        let keyed = async |query: String| -> BTreeMap<String, Value> {
            let rows = rows(admin, &query).await;
            let rows = rows.as_array().expect("rows").iter();
            rows.map(|row| (text(&row["key"]), row["row"].clone())).collect()
        };
        let keys = async |query: &str| -> BTreeSet<String> {
            let rows = rows(admin, query).await;
            rows.as_array().expect("rows").iter().map(|row| text(&row["key"])).collect()
        };
        let bodies = rows(admin, "SELECT stream_id, seq FROM stamp_events").await;
        let bodies = bodies.as_array().expect("rows").iter();
        let sizes =
            keyed("SELECT stream_id AS key, to_jsonb(size) AS row FROM streams".into()).await;
        Self {
            workflows: keyed(format!(
                "SELECT correlation_id AS key, jsonb_strip_nulls(jsonb_build_object(
                    'type', workflow_type, 'namespace', namespace, 'state', current_state,
                    'start', CASE WHEN started_by IS NOT NULL THEN started_metadata END,
                    'end', CASE WHEN finished_by IS NOT NULL THEN finished_metadata END))
                    || jsonb_build_object('began', {}, 'completed', {}) AS row
                FROM workflow_executions",
                seconds("started_at"),
                seconds("completed_at")
            ))
            .await,
            steps: keyed(
                "SELECT event_key AS key, jsonb_build_object('workflow', w.correlation_id,
                    'order', step_order) AS row
                FROM workflow_steps s JOIN workflow_executions w ON w.id = s.workflow_id"
                    .into(),
            )
            .await,
            pending: keys("SELECT event_key AS key FROM pending_steps").await,
            transitions: keys("SELECT event_key AS key FROM fsm_transitions").await,
            bridges: keyed(format!(
                "SELECT bridge_id AS key, jsonb_build_object('workflows',
                    total_workflows_processed, 'items', total_items_aggregated, 'state',
                    current_fsm_state, 'at', {}) AS row FROM bridge_states",
                seconds("last_aggregation_timestamp")
            ))
            .await,
            nodes: keyed(format!(
                "SELECT node_id AS key, jsonb_build_object('type', node_type, 'version',
                    node_version, 'status', health_status, 'heard', {}) AS row
                FROM node_registrations",
                seconds("last_heartbeat")
            ))
            .await,
            contents: keys(
                "SELECT id AS key FROM metadata_stamps
                WHERE file_metadata->>'digest_of' = 'claimed'",
            )
            .await
            .len() as i64,
            bodies: bodies
                .map(|row| (text(&row["stream_id"]), row["seq"].as_i64().expect("a number")))
                .collect(),
            sizes: sizes
                .into_iter()
                .map(|(stream, size)| (stream, size.as_i64().expect("a number")))
                .collect(),
            broken: keys("SELECT DISTINCT stream_id AS key FROM gaps WHERE closed_at IS NULL")
                .await,
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// What happens, but for when and under which key; the wider, to the more workflows and streams.
fn operation(width: u16) -> impl Strategy<Value = Operation> {
    let word = || proptest::sample::select(vec!["A", "B", "C"]).prop_map(str::to_owned);
    let started = (0..4 * width, word(), word()).prop_map(|(number, workflow_type, state)| {
        Operation::Started(Started {
            correlation_id: workflow(number),
            workflow_type: workflow_type.clone(),
            current_state: state,
            namespace: format!("a.b.{workflow_type}"),
            started_at: None,
            metadata: map(json!({ "by": workflow_type })),
        })
    });
    let finished = (0..4 * width, word(), proptest::option::of(word())).prop_map(
        |(number, state, workflow_type)| {
            Operation::Finished(Finished {
                correlation_id: workflow(number),
                current_state: state.clone(),
                namespace: workflow_type.clone(),
                workflow_type,
                completed_at: None,
                execution_time_ms: None,
                error_message: None,
                metadata: map(json!({ "end": state })),
            })
        },
    );
    let step = (0..5 * width, any::<bool>(), 0..9).prop_map(|(number, by_id, order)| {
        let id = || row_id("workflow_executions", &workflow(number).to_string());
        super::step(if by_id { id() } else { workflow(number) }, order)
    });
    let bridged = (0..2 * width, 0..9_i64, word()).prop_map(|(number, count, state)| {
        let Operation::Bridge(told) = bridge(count, 10 * count, &state) else { unreachable!() };
        Operation::Bridge(Bridge { bridge_id: workflow(number), ..told })
    });
    let beat = (word(), word(), proptest::option::of(word()), proptest::option::of(word()))
        .prop_map(|(node_id, status, node_type, node_version)| {
            let Operation::Heartbeat(told) = heartbeat(&status, node_type.as_deref()) else {
                unreachable!()
            };
            Operation::Heartbeat(Heartbeat { node_id, node_version, ..told })
        });
    let position =
        (0..2_u16, 0..8 * u64::from(width), any::<bool>()).prop_map(|(number, seq, whole)| {
            let (stream, entry) = (stream(number), if whole { entry } else { withheld });
            Operation::Position(Position { stream, seq, entry: entry(stamp(stream, seq)) })
        });
    prop_oneof![
        3 => started, 3 => finished, 4 => step, 2 => bridged, 3 => beat, 4 => position,
        1 => Just(transition()),
    ]
}

/// What happens, and when.
fn happening(width: u16) -> impl Strategy<Value = (Operation, i64)> {
    (operation(width), 0..20 * i64::from(width))
}

fn as_events(happened: Vec<(Operation, i64)>) -> Vec<Event> {
    let happened = happened.into_iter().enumerate();
    // Keys are in another order than the events.
    let events = happened.map(|(index, (operation, second))| {
        event(&format!("{:05}", index * 37 % 10_007), second, operation)
    });
    events.chain((0..3).map(|n| event(&format!("content {n}"), n.into(), content(n)))).collect()
}

/// Events that are the same in every run, at most ten thousand; and orders in which all of them come.
pub fn history_of(events: usize, orders: usize) -> (Vec<Event>, Vec<Vec<usize>>) {
    let mut runner = TestRunner::deterministic();
    let happened = proptest::collection::vec(happening(50), events);
    let events = as_events(happened.new_tree(&mut runner).expect("there are some").current());
    let places = Just((0..events.len()).collect::<Vec<_>>()).prop_shuffle();
    let order = |_| places.new_tree(&mut runner).expect("there is one").current();
    let orders = (0..orders).map(order).collect();
    (events, orders)
}

/// Events, and the order in which they come: places of events, each three times.
fn history() -> impl Strategy<Value = (Vec<Event>, Vec<usize>, usize)> {
    proptest::collection::vec(happening(1), 1..40).prop_flat_map(|happened| {
        let events = as_events(happened);
        let order: Vec<usize> = (0..3 * events.len()).map(|place| place % events.len()).collect();
        (Just(events), Just(order).prop_shuffle(), 1..50_usize)
    })
}

async fn check(bench: &mut Bench, events: &[Event], order: &[usize], batch: usize) {
    bench
        .admin
        .batch_execute(
            "TRUNCATE workflow_executions, workflow_steps, pending_steps, fsm_transitions,
                bridge_states, bridge_state_events, node_registrations, adapter_offsets, gaps,
                metadata_stamps, stamp_events, withheld, streams",
        )
        .await
        .expect("the tables are ours");
    bench.next = 0;
    for places in order.chunks(batch) {
        let told = places.iter().map(|place| events[*place].clone()).collect();
        assert_eq!(bench.take(told).await.dead, []);
    }
    assert_eq!(Tables::read(&bench.admin).await, model(events));
}

#[test]
fn events_in_any_order_and_three_times_each_make_the_tables_of_a_sequence() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bench = RefCell::new(runtime.block_on(Bench::new()));
    let mut runner = TestRunner::new(Config { cases: 40, ..Config::default() });
    let outcome = runner.run(&history(), |(events, order, batch)| {
        runtime.block_on(check(&mut bench.borrow_mut(), &events, &order, batch));
        Ok(())
    });
    outcome.unwrap();
    // The database is dropped by a runtime of its own.
    let _inside = runtime.enter();
    drop(bench);
}
