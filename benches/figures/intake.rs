//! From events to rows: what the adapter's half behind Kafka commits per second, beside the same rows
//! written by hand. Reading a record's JSON is in the time, fetching it from a broker is not.

use std::time::Instant;

use serde_json::json;
use stampd::adapter::decode::{self, decode};
use stampd::adapter::route::Slug;
use stampd::model::envelope::{Place, event};
use stampd::model::stream::StreamId;
use stampd::runtime::time::Timestamp;
use stampd::store::address::Address as Road;
use stampd::store::dead::Record;
use stampd::store::migrate;
use stampd::store::offsets::Advance;
use stampd::store::operations::{Intake, Item};
use uuid::Uuid;

use crate::by_hand::{Rows, Session};
use crate::measure::{Pairs, Table};
use crate::support::block_on;
use crate::support::postgres::{Address, Database};
use crate::support::record;

/// Records of one transaction, as the adapter has them at most.
const BATCH: i64 = 5_000;

/// Records of a round.
const RECORDS: u64 = 50_000;

const ROUNDS: usize = 7;

/// P10: rows committed from stamp-created events per second.
pub fn adapter(table: &mut Table) {
    let mut pairs = Pairs::default();
    let mut better = "";
    for round in 0..ROUNDS {
        let mut database = Database::create();
        let admin = database.admin();
        migrated(&admin);
        let login = database.login("stampd_server");
        let records = records();
        let session = Session::open(&admin);
        session.run("CHECKPOINT");
        let ours = block_on(|| take_all(&login, &records));
        assert_eq!(session.size(), RECORDS, "every stamp is in its place");

        let rows = Rows::read(&session, BATCH);
        let (by_hand, way) = rows.by_the_better(&session, round);
        better = way;
        pairs.push(ours, by_hand);
    }
    table.add(
        "P10",
        "all slugs mixed → Postgres, rate",
        format!("{:.0}/s", mix()),
        String::new(),
        "told",
    );
    let what = format!("stamp-created → Postgres : the same rows by hand ({better}), rate");
    table.add_pair("P10", &what, &pairs, "≥0.6");
}

/// Records of every slug in turn, of fewer workflows, bridges and nodes than there are records;
/// returns the records per second.
fn mix() -> f64 {
    let mut database = Database::create();
    migrated(&database.admin());
    let login = database.login("stampd_server");
    let records: Vec<(Slug, Vec<u8>)> = (0..RECORDS).map(of_any_slug).collect();
    block_on(|| take_all(&login, &records))
}

/// The `n`th of records of every slug in turn.
pub fn of_any_slug(n: u64) -> (Slug, Vec<u8>) {
    let (event_id, one, few) = (Uuid::from_u128(n.into()), n / 7, n / 7 % 100);
    let (workflow, some) = (Uuid::from_u128(one.into()), Uuid::from_u128(few.into()));
    let (slug, payload) = match n % 7 {
        0 => (
            Slug::WorkflowStarted,
            json!({ "correlation_id": workflow, "workflow_type": "build",
                "current_state": "RUNNING", "namespace": "a.b.c" }),
        ),
        1 => (
            Slug::StepCompleted,
            json!({ "workflow_id": workflow, "step_name": "compile", "step_order": 1,
                "status": "COMPLETED" }),
        ),
        2 => (
            Slug::WorkflowCompleted,
            json!({ "correlation_id": workflow, "current_state": "COMPLETED" }),
        ),
        3 => (
            Slug::StateTransition,
            json!({ "entity_id": workflow, "entity_type": "workflow", "to_state": "COMPLETED",
                "transition_event": "end" }),
        ),
        4 => (
            Slug::StateAggregationCompleted,
            json!({ "bridge_id": some, "namespace": "a.b.c", "total_workflows_processed": 1,
                "total_items_aggregated": 9, "current_fsm_state": "IDLE" }),
        ),
        5 => (
            Slug::NodeHeartbeat,
            json!({ "node_id": format!("node-{few}"), "health_status": "HEALTHY" }),
        ),
        _ => (
            Slug::StampCreated,
            json!({ "file_hash": format!("{one:064x}"), "namespace": "a.b.c" }),
        ),
    };
    (slug, json!({ "event_id": event_id, "payload": payload }).to_string().into_bytes())
}

/// Makes the schema.
pub fn migrated(admin: &Address) {
    block_on(|| async {
        let mut session = record::session(admin).await;
        migrate::run(&mut session, &mut |_| ()).await.expect("it migrates");
    });
}

/// The events of one stream, as they lie on a topic.
fn records() -> Vec<(Slug, Vec<u8>)> {
    let stream: StreamId = record::stream();
    let place = Place { environment: "bench".to_owned(), region: None };
    (0..RECORDS)
        .map(|seq| {
            let entry = record::entry(record::stamp(stream, seq));
            (Slug::StampCreated, event(stream, seq, &entry, &place).value)
        })
        .collect()
}

/// Decodes and takes everything in batches; returns the records per second.
async fn take_all(login: &Address, records: &[(Slug, Vec<u8>)]) -> f64 {
    let road = Road::parse(&record::config(login)).expect("the URL is good");
    let mut intake = Intake::open(&road).await.expect("the database answers");
    let start = Instant::now();
    let mut known = None;
    for batch in records.chunks(BATCH as usize) {
        let first = known.unwrap_or(0);
        let items: Vec<Item> = batch.iter().zip(first..).map(item).collect();
        let next = first + items.len() as i64;
        let step = Advance { topic: "bench".to_owned(), partition: 0, known, next };
        let taken = intake.take("bench", &items, &[step]).await.expect("it is taken");
        assert_eq!(taken.events, items.len(), "nothing is a dead letter");
        known = Some(next);
    }
    records.len() as f64 / start.elapsed().as_secs_f64()
}

/// A record with its bytes copied, as it is when it has left the client.
fn item(((slug, value), offset): (&(Slug, Vec<u8>), i64)) -> Item {
    let sent = Timestamp::from_nanos(0);
    let lying = decode::Record { value: Some(value), ..decode::Record::default() };
    let read = decode(*slug, &lying, sent).expect("it is a good event");
    let record = Record {
        topic: "bench".to_owned(),
        partition: 0,
        offset,
        sent,
        key: None,
        value: Some(value.clone()),
        headers: Vec::new(),
    };
    Item { record, read: Ok(read) }
}
