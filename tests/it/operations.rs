//! What Kafka's events ask for, done by a server's login: once, whole, in whatever order.

pub mod model;

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use stampd::model::batch::Entry;
use stampd::model::class::Class;
use stampd::model::digest::Digest;
use stampd::model::operation::{
    Bridge, Content, Event, Finished, Heartbeat, Operation, Origin, Position, Query, Started, Step,
    Transition,
};
use stampd::model::stream::StreamId;
use stampd::runtime::time::Timestamp;
use stampd::store::address::Address as Road;
use stampd::store::dead::{self, Letter, Reason, Which};
use stampd::store::offsets::{self, Advance, Offset};
use stampd::store::operations::{Intake, Item, TakeError, Taken};
use stampd::store::queries::{self, Answer, QueryError};
use stampd::store::streams::{Gaps, append};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::postgres::Address;
use crate::support::record::{
    Record, config, entry, piece, sealed, session, stamp, stream, withheld,
};
use crate::support::wait::wait_for_async;

const GROUP: &str = "tests";
const TOPIC: &str = "dev.omninode_bridge.onex.evt.anything.v1";

/// A record with an adapter at it.
struct Bench {
    record: Record,
    intake: Intake,
    admin: Client,
    next: i64,
}

impl Bench {
    async fn new() -> Self {
        let mut record = Record::create().await;
        let intake = open(&record.database.login("stampd_server")).await;
        let admin = record.database.admin().connect().await;
        Self { record, intake, admin, next: 0 }
    }

    /// Takes events that follow those before.
    async fn take(&mut self, events: Vec<Event>) -> Taken {
        let items: Vec<Item> = events.into_iter().map(|event| item(Ok(event))).collect();
        self.take_items(&items).await
    }

    async fn take_items(&mut self, items: &[Item]) -> Taken {
        let (from, next) = (self.next, self.next + items.len() as i64);
        self.next = next;
        let known = (from > 0).then_some(from);
        self.intake.take(GROUP, items, &[advance(known, next)]).await.expect("it is taken")
    }

    async fn json(&self, query: &str) -> Value {
        rows(&self.admin, query).await
    }
}

/// The rows of the superuser's query, as JSON.
async fn rows(admin: &Client, query: &str) -> Value {
    let query = format!("SELECT coalesce(jsonb_agg(to_jsonb(q)), '[]')::text FROM ({query}) q");
    let text: String = admin.query_one(&query, &[]).await.expect("a good query").get(0);
    serde_json::from_str(&text).expect("JSON")
}

async fn open(login: &Address) -> Intake {
    let road = Road::parse(&config(login)).expect("the URL is good");
    Intake::open(&road).await.expect("the database answers")
}

fn advance(known: Option<i64>, next: i64) -> Advance {
    Advance { topic: TOPIC.to_owned(), partition: 0, known, next }
}

fn record() -> dead::Record {
    dead::Record {
        topic: TOPIC.to_owned(),
        partition: 0,
        offset: 7,
        sent: at(0),
        key: Some(b"key".to_vec()),
        value: Some(vec![0, 0xff]),
        headers: vec![("a".to_owned(), Some(vec![1])), ("b".to_owned(), None)],
    }
}

fn item(read: Result<Event, Reason>) -> Item {
    Item { record: record(), read }
}

/// A second of a day.
fn at(second: i64) -> Timestamp {
    Timestamp::from_nanos((1_764_000_000 + second) * 1_000_000_000)
}

fn event(key: &str, second: i64, operation: Operation) -> Event {
    let origin = Origin { at: at(second), key: key.to_owned() };
    Event { origin, correlation_id: None, operation }
}

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("{value} is no object") };
    map
}

fn workflow() -> Uuid {
    Uuid::from_u128(0xabcd)
}

fn started(metadata: Value) -> Operation {
    Operation::Started(Started {
        correlation_id: workflow(),
        workflow_type: "build".to_owned(),
        current_state: "RUNNING".to_owned(),
        namespace: "a.b.c".to_owned(),
        started_at: Some(at(1)),
        metadata: map(metadata),
    })
}

fn finished(metadata: Value) -> Operation {
    Operation::Finished(Finished {
        correlation_id: workflow(),
        current_state: "COMPLETED".to_owned(),
        workflow_type: None,
        namespace: None,
        completed_at: Some(at(9)),
        execution_time_ms: Some(8_000),
        error_message: None,
        metadata: map(metadata),
    })
}

fn step(workflow: Uuid, order: i32) -> Operation {
    Operation::Step(Step {
        workflow,
        step_name: "compile".to_owned(),
        step_order: order,
        status: "COMPLETED".to_owned(),
        execution_time_ms: Some(5),
        step_data: map(json!({ "n": order })),
        error_message: None,
    })
}

fn transition() -> Operation {
    Operation::Transition(Transition {
        entity_id: Uuid::from_u128(1),
        entity_type: "workflow".to_owned(),
        from_state: None,
        to_state: "RUNNING".to_owned(),
        transition_event: "start".to_owned(),
        transition_data: Map::new(),
    })
}

fn bridge(workflows: i64, items: i64, state: &str) -> Operation {
    Operation::Bridge(Bridge {
        bridge_id: Uuid::from_u128(2),
        namespace: "a.b.c".to_owned(),
        total_workflows_processed: workflows,
        total_items_aggregated: items,
        current_fsm_state: state.to_owned(),
        aggregation_metadata: Map::new(),
        last_aggregation_timestamp: None,
    })
}

fn heartbeat(status: &str, node_type: Option<&str>) -> Operation {
    Operation::Heartbeat(Heartbeat {
        node_id: "node".to_owned(),
        health_status: status.to_owned(),
        node_type: node_type.map(str::to_owned),
        node_version: None,
        capabilities: None,
        endpoints: None,
        last_heartbeat: None,
        metadata: Map::new(),
    })
}

fn content(digest: u8) -> Operation {
    Operation::Content(Box::new(Content {
        namespace: "a.b.c".parse().expect("a namespace"),
        file_hash: format!("{digest:064x}").parse().expect("a digest"),
        file_path: Some("src/a.rs".to_owned()),
        file_size: Some(3),
        content_type: None,
        protocol_version: "1.0".to_owned(),
        metadata_version: "0.1".to_owned(),
        version: 1,
        op_id: None,
        workflow_id: None,
        stamp_data: map(json!({ "note": "theirs", "hash": "another" })),
        intelligence_data: Map::new(),
        created_at: None,
    }))
}

fn position(stream: StreamId, seq: u64) -> Event {
    let entry = entry(stamp(stream, seq));
    let key = format!("{stream}/{seq}");
    event(&key, 0, Operation::Position(Position { stream, seq, entry }))
}

#[tokio::test]
async fn every_operation_becomes_its_row() {
    let mut bench = Bench::new().await;
    let stream = stream();
    let events = || {
        vec![
            event("1", 1, started(json!({ "a": 1, "b": 1 }))),
            event("2", 2, step(workflow(), 0)),
            event("3", 9, finished(json!({ "b": 2 }))),
            event("4", 3, transition()),
            event("5", 4, bridge(1, 10, "IDLE")),
            event("6", 5, heartbeat("HEALTHY", Some("reducer"))),
            event("7", 6, content(0xaa)),
            position(stream, 0),
        ]
    };
    for _ in 0..3 {
        let taken = bench.take(events()).await;
        assert_eq!(taken, Taken { events: 8, dead: vec![] });
    }
    assert_eq!(
        bench
            .json(
                "SELECT workflow_type, current_state, namespace, execution_time_ms, metadata,
                    completed_at - started_at AS took FROM workflow_executions"
            )
            .await,
        json!([{
            "workflow_type": "build", "current_state": "COMPLETED", "namespace": "a.b.c",
            "execution_time_ms": 8_000, "metadata": { "a": 1, "b": 2 }, "took": "00:00:08",
        }])
    );
    assert_eq!(
        bench.json("SELECT step_name, step_order, status, step_data FROM workflow_steps").await,
        json!([{
            "step_name": "compile", "step_order": 0, "status": "COMPLETED",
            "step_data": { "n": 0 },
        }])
    );
    assert_eq!(
        bench.json("SELECT entity_type, from_state, to_state FROM fsm_transitions").await,
        json!([{ "entity_type": "workflow", "from_state": null, "to_state": "RUNNING" }])
    );
    assert_eq!(
        bench
            .json(
                "SELECT total_workflows_processed, total_items_aggregated, current_fsm_state
                 FROM bridge_states"
            )
            .await,
        json!([{
            "total_workflows_processed": 1, "total_items_aggregated": 10,
            "current_fsm_state": "IDLE",
        }])
    );
    assert_eq!(
        bench.json("SELECT node_type, node_version, health_status FROM node_registrations").await,
        json!([{
            "node_type": "reducer", "node_version": "unknown", "health_status": "HEALTHY",
        }])
    );
    let told = "SELECT stamp_data->>'note' AS note, stamp_data->>'hash' = file_hash AS own,
        file_metadata FROM metadata_stamps WHERE file_path = 'src/a.rs'";
    assert_eq!(
        bench.json(told).await,
        json!([{ "note": "theirs", "own": true, "file_metadata": { "digest_of": "claimed" } }])
    );
    assert_eq!(bench.json("SELECT size FROM streams").await, json!([{ "size": 1 }]));
    assert_eq!(bench.record.count("SELECT count(*) FROM stamp_events").await, 1);
}

#[tokio::test]
async fn a_step_waits_for_its_workflow_and_comes_to_it_by_either_name() {
    let mut bench = Bench::new().await;
    bench.take(vec![event("1", 1, started(json!({})))]).await;
    let id = bench.json("SELECT id FROM workflow_executions").await[0]["id"].clone();
    let id: Uuid = id.as_str().expect("a text").parse().expect("an id");
    bench.admin.batch_execute("TRUNCATE workflow_executions CASCADE").await.unwrap();

    let steps = || vec![event("2", 2, step(workflow(), 0)), event("3", 2, step(id, 1))];
    bench.take(steps()).await;
    bench.take(steps()).await;
    assert_eq!(bench.record.count("SELECT count(*) FROM pending_steps").await, 2);
    assert_eq!(bench.record.count("SELECT count(*) FROM workflow_steps").await, 0);
    bench.take(vec![event("4", 3, finished(json!({})))]).await;
    assert_eq!(bench.record.count("SELECT count(*) FROM pending_steps").await, 0);
    bench.take(steps()).await;
    assert_eq!(bench.record.count("SELECT count(*) FROM workflow_steps").await, 2);
    assert_eq!(bench.record.count("SELECT count(*) FROM pending_steps").await, 0);
}

#[tokio::test]
async fn an_end_that_comes_first_stands_for_the_beginning_until_that_comes() {
    let mut bench = Bench::new().await;
    let row = "SELECT workflow_type, current_state, namespace, metadata,
        extract(epoch FROM started_at)::bigint - 1764000000 AS began FROM workflow_executions";
    bench.take(vec![event("2", 9, finished(json!({ "b": 2 })))]).await;
    assert_eq!(
        bench.json(row).await,
        json!([{
            "workflow_type": "unknown", "current_state": "COMPLETED",
            "namespace": "omninode.services.metadata", "metadata": { "b": 2 }, "began": 9,
        }])
    );
    bench.take(vec![event("1", 10, started(json!({ "a": 1, "b": 1 })))]).await;
    assert_eq!(
        bench.json(row).await,
        json!([{
            "workflow_type": "build", "current_state": "COMPLETED", "namespace": "a.b.c",
            "metadata": { "a": 1, "b": 2 }, "began": 1,
        }])
    );
}

#[tokio::test]
async fn counters_count_each_event_once_and_the_newest_word_stays() {
    let mut bench = Bench::new().await;
    let newer = event("b", 2, bridge(2, 20, "NEWER"));
    let older = event("a", 1, bridge(1, 10, "OLDER"));
    bench.take(vec![newer.clone(), newer.clone()]).await;
    bench.take(vec![older.clone(), newer, older]).await;
    assert_eq!(
        bench
            .json(
                "SELECT total_workflows_processed, total_items_aggregated, current_fsm_state
                 FROM bridge_states"
            )
            .await,
        json!([{
            "total_workflows_processed": 3, "total_items_aggregated": 30,
            "current_fsm_state": "NEWER",
        }])
    );
}

#[tokio::test]
async fn a_node_never_goes_back_in_time_but_keeps_what_only_an_older_heartbeat_says() {
    let mut bench = Bench::new().await;
    bench.take(vec![event("3", 3, heartbeat("NEWEST", None))]).await;
    bench.take(vec![event("1", 1, heartbeat("OLDEST", Some("first")))]).await;
    bench.take(vec![event("2", 2, heartbeat("OLDER", Some("second")))]).await;
    assert_eq!(
        bench
            .json(
                "SELECT health_status, node_type,
                    extract(epoch FROM last_heartbeat)::bigint - 1764000000 AS heard
                 FROM node_registrations"
            )
            .await,
        json!([{ "health_status": "NEWEST", "node_type": "second", "heard": 3 }])
    );
}

#[tokio::test]
async fn one_bad_event_among_five_thousand_becomes_a_dead_letter_alone() {
    let mut bench = Bench::new().await;
    let mut events: Vec<Event> =
        (0..5_000).map(|n| event(&format!("{n}"), n, transition())).collect();
    let Operation::Transition(bad) = &mut events[3_141].operation else { unreachable!() };
    bad.to_state = "with a NUL \0".to_owned();
    let taken = bench.take(events.clone()).await;
    assert_eq!((taken.events, taken.dead.len()), (4_999, 1));
    assert_eq!((taken.dead[0].0, taken.dead[0].1.error_type.as_str()), (3_141, "refused"));
    assert_eq!(bench.record.count("SELECT count(*) FROM fsm_transitions").await, 4_999);

    let letters = dead::fetch(bench.intake.session(), Which::Unpublished, 0, 10).await.unwrap();
    let [
        Letter {
            id, record: kept, reason, retry_count: 0, published: false, resolved: false, ..
        },
    ] = letters.as_slice()
    else {
        panic!("one letter, not {letters:?}");
    };
    assert_eq!((kept, reason), (&record(), &taken.dead[0].1));
    dead::published(bench.intake.session(), &[*id]).await.unwrap();
    dead::retried(bench.intake.session(), &[*id]).await.unwrap();
    let count = async |bench: &mut Bench, which| {
        dead::fetch(bench.intake.session(), which, 0, 10).await.unwrap().len()
    };
    assert_eq!(count(&mut bench, Which::Unpublished).await, 0);
    assert_eq!(count(&mut bench, Which::Open).await, 1);
    dead::resolved(bench.intake.session(), &[*id]).await.unwrap();
    assert_eq!(count(&mut bench, Which::Open).await, 0);
    let letters = dead::fetch(bench.intake.session(), Which::Every, 0, 10).await.unwrap();
    assert_eq!((letters[0].retry_count, letters[0].resolved), (2, true));
}

#[tokio::test]
async fn each_kind_of_bad_event_becomes_a_dead_letter_and_the_good_ones_rows() {
    let mut bench = Bench::new().await;
    let Operation::Step(unknown) = step(workflow(), 0) else { unreachable!() };
    let unknown = Step { status: "NOPE".to_owned(), ..unknown };
    let Operation::Finished(wordy) = finished(json!({})) else { unreachable!() };
    let wordy = Finished { error_message: Some("x".repeat(2_001)), ..wordy };
    let Operation::Content(negative) = content(1) else { unreachable!() };
    let negative = Box::new(Content { file_size: Some(-1), ..*negative });
    let taken = bench
        .take(vec![
            event("0", 0, started(json!({}))),
            event("1", 1, bridge(i64::MAX, 0, "FULL")),
            event("2", 2, bridge(1, 1, "BEYOND")),
            event("3", 3, Operation::Step(unknown)),
            event("4", 4, Operation::Finished(wordy)),
            event("5", 5, Operation::Content(negative)),
            event("6", 6, heartbeat(&"long".repeat(20), None)),
            event("7", 7, started(json!({ "key\0": "\0" }))),
            event("8", 8, step(workflow(), 0)),
        ])
        .await;
    let places: Vec<usize> = taken.dead.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [2, 3, 4, 5, 6, 7]);
    assert!(taken.dead.iter().all(|(_, reason)| reason.error_type == "refused"), "{taken:?}");
    assert_eq!(taken.dead[2].1.error_context, json!({ "event_key": "4" }));
    let workflows = "SELECT current_state, (SELECT count(*) FROM workflow_steps) AS steps,
        (SELECT current_fsm_state FROM bridge_states) AS bridge FROM workflow_executions";
    assert_eq!(
        bench.json(workflows).await,
        json!([{ "current_state": "RUNNING", "steps": 1, "bridge": "FULL" }])
    );
    for table in ["node_registrations", "metadata_stamps", "pending_steps"] {
        assert_eq!(bench.record.count(&format!("SELECT count(*) FROM {table}")).await, 0);
    }
    let everything = (0..1_000).map(|n| event(&format!("bad {n}"), 0, bridge(1, 1, "BEYOND")));
    let taken = bench.take(everything.collect()).await;
    assert_eq!((taken.events, taken.dead.len()), (0, 1_000));
}

#[tokio::test]
async fn what_could_not_be_read_is_a_dead_letter_beside_what_could() {
    let mut bench = Bench::new().await;
    let reason = Reason {
        error_type: "not_json".to_owned(),
        error_message: "read JSON: \0".to_owned(),
        error_context: json!({ "field\0": "\0" }),
    };
    let items = [
        item(Err(reason.clone())),
        item(Ok(event("1", 1, transition()))),
        item(Err(reason.clone())),
    ];
    let taken = bench.take_items(&items).await;
    assert_eq!(taken, Taken { events: 1, dead: vec![(0, reason.clone()), (2, reason)] });
    assert_eq!(bench.record.count("SELECT count(*) FROM adapter_dead").await, 2);
}

#[tokio::test]
async fn who_lost_a_partition_writes_nothing_at_all() {
    let mut bench = Bench::new().await;
    bench.take(vec![event("1", 1, transition())]).await;
    let session = bench.intake.session();
    let stands = offsets::load(session, GROUP, &[TOPIC]).await.unwrap();
    assert_eq!(stands, [Offset { topic: TOPIC.to_owned(), partition: 0, next: 1 }]);
    let items = [item(Ok(event("2", 2, transition())))];
    for known in [None, Some(0), Some(2)] {
        let other = Advance { partition: 1, ..advance(None, 5) };
        let error = bench.intake.take(GROUP, &items, &[advance(known, 3), other]).await;
        assert!(matches!(error, Err(TakeError::Overtaken)), "{error:?}");
    }
    assert_eq!(bench.record.count("SELECT count(*) FROM fsm_transitions").await, 1);
    assert_eq!(bench.record.count("SELECT count(*) FROM adapter_offsets").await, 1);

    offsets::reset(
        bench.intake.session(),
        GROUP,
        &Offset { topic: TOPIC.to_owned(), partition: 0, next: 0 },
    )
    .await
    .unwrap();
    bench.next = 1;
    let stale = bench.intake.take(GROUP, &items, &[advance(Some(1), 2)]).await;
    assert!(matches!(stale, Err(TakeError::Overtaken)), "{stale:?}");
    bench.intake.take(GROUP, &items, &[advance(Some(0), 2)]).await.unwrap();
}

#[tokio::test]
async fn a_gap_is_opened_where_a_stream_skips_and_closed_when_it_is_filled() {
    let mut bench = Bench::new().await;
    let stream = stream();
    let gaps = "SELECT first_seq, next_seq, closed_at IS NOT NULL AS closed FROM gaps
        ORDER BY next_seq";
    bench.take(vec![position(stream, 0), position(stream, 4)]).await;
    bench.take(vec![position(stream, 7)]).await;
    let open = |first: i64, next: i64, closed: bool| json!({ "first_seq": first, "next_seq": next, "closed": closed });
    assert_eq!(bench.json(gaps).await, json!([open(1, 4, false), open(5, 7, false)]));
    // The later one first, and partly by a leaf alone.
    let seq = 6;
    let leaf_alone = Position { stream, seq, entry: withheld(stamp(stream, seq)) };
    bench.take(vec![position(stream, 5), event("leaf", 0, Operation::Position(leaf_alone))]).await;
    assert_eq!(bench.json(gaps).await, json!([open(1, 4, false), open(5, 7, true)]));
    bench.take(vec![position(stream, 3)]).await;
    assert_eq!(bench.json(gaps).await, json!([open(1, 4, false), open(5, 7, true)]));
    bench.take(vec![position(stream, 2), position(stream, 1)]).await;
    assert_eq!(bench.json(gaps).await, json!([open(1, 4, true), open(5, 7, true)]));
    assert_eq!(bench.json("SELECT size FROM streams").await, json!([{ "size": 8 }]));
}

#[tokio::test]
async fn another_body_under_a_known_identity_is_refused_by_name() {
    let mut bench = Bench::new().await;
    let stream = stream();
    bench.take(vec![position(stream, 0), position(stream, 1)]).await;
    let mut other = stamp(stream, 1);
    other.size = Some(999);
    let forged = |key: &str, stamp| {
        let entry = Entry::Stamp(Box::new(sealed(stamp)));
        event(key, 0, Operation::Position(Position { stream, seq: 1, entry }))
    };
    let taken = bench
        .take(vec![position(stream, 2), forged("f", other.clone()), position(stream, 3)])
        .await;
    assert_eq!((taken.events, taken.dead.len()), (2, 1));
    assert_eq!((taken.dead[0].0, taken.dead[0].1.error_type.as_str()), (1, "equivocation"));
    assert_eq!(bench.json("SELECT size FROM streams").await, json!([{ "size": 4 }]));
    // The same within one batch: the first that came stays.
    let next = stream_of_two(&mut bench).await;
    assert_eq!(next.dead[0].0, 1);
}

async fn stream_of_two(bench: &mut Bench) -> Taken {
    let stream = stream();
    let mut other = stamp(stream, 0);
    other.size = Some(999);
    let entry = Entry::Stamp(Box::new(sealed(other)));
    let forged = event("g", 0, Operation::Position(Position { stream, seq: 0, entry }));
    bench.take(vec![position(stream, 0), forged]).await
}

#[tokio::test]
async fn rows_that_came_by_another_road_are_there_once() {
    let mut bench = Bench::new().await;
    let stream = stream();
    let mut agent = session(&bench.record.agent).await;
    append(&mut agent, &[&piece(stream, 0..3)], Gaps::Refused).await.unwrap();
    bench.take((0..5).map(|seq| position(stream, seq)).collect()).await;
    let sizes = append(&mut agent, &[&piece(stream, 3..6)], Gaps::Refused).await.unwrap();
    assert_eq!((sizes[0].size, sizes[0].accepted), (6, 1));
    for table in ["stamp_events", "metadata_stamps"] {
        assert_eq!(bench.record.count(&format!("SELECT count(*) FROM {table}")).await, 6);
    }
    assert_eq!(bench.record.count("SELECT count(*) FROM gaps").await, 0);
}

/// What one of two consumers is told in a round: the same contents, workflows, bridges and nodes as
/// the other, in the opposite order, by streams of its own.
fn told(round: u64, reversed: bool) -> Vec<Item> {
    let mut events: Vec<Event> = (0..50).flat_map(|n| workflow_of(round, n)).collect();
    if reversed {
        events.reverse();
    }
    for number in 0..2 {
        let half = if reversed { 1 - number } else { number };
        let id = (0x0190_u128 << 112) + (7 << 76) + (8 << 60) + u128::from(2 * round + number);
        let stream = StreamId::from_uuid(Uuid::from_u128(2 * id + u128::from(reversed)));
        events
            .extend((0..50).map(|seq| position_of(stream, seq, &format!("{round} {half} {seq}"))));
    }
    events.into_iter().map(|event| item(Ok(event))).collect()
}

fn workflow_of(round: u64, n: u128) -> [Event; 4] {
    let Operation::Started(begun) = started(json!({})) else { unreachable!() };
    let correlation_id = Uuid::from_u128(n);
    let second = round as i64;
    let key = format!("{round}/{n}");
    [
        event(&key, second, Operation::Started(Started { correlation_id, ..begun })),
        event(&format!("{key} step"), second, step(correlation_id, 0)),
        event(&format!("{key} bridge"), second, bridge(1, 1, "A")),
        event(&format!("{key} beat"), second, heartbeat("A", None)),
    ]
}

/// A position that tells of a content by its own text.
fn position_of(stream: StreamId, seq: u64, content: &str) -> Event {
    let mut told = stamp(stream, seq);
    told.digest = Some(Digest::of(content.as_bytes()));
    let position = Position { stream, seq, entry: entry(told) };
    event(&format!("{stream}/{seq}"), 0, Operation::Position(position))
}

#[tokio::test]
async fn two_consumers_that_tell_of_the_same_things_both_get_through() {
    let mut bench = Bench::new().await;
    let login = bench.record.database.login("stampd_server");
    let mut other = open(&login).await;
    for round in 0..10 {
        let (one, two) = (told(round, false), told(round, true));
        let here = advance((round > 0).then_some(round as i64), round as i64 + 1);
        let there = Advance { partition: 1, ..here.clone() };
        let (here, there) = ([here], [there]);
        let (one, two) =
            tokio::join!(bench.intake.take(GROUP, &one, &here), other.take(GROUP, &two, &there));
        assert_eq!((one.unwrap().dead, two.unwrap().dead), (vec![], vec![]));
    }
    assert_eq!(bench.record.count("SELECT count(*) FROM workflow_steps").await, 500);
    assert_eq!(bench.record.count("SELECT count(*) FROM stamp_events").await, 2_000);
    assert_eq!(bench.record.count("SELECT count(*) FROM metadata_stamps").await, 1_000);
    let total = "SELECT total_workflows_processed FROM bridge_states";
    assert_eq!(bench.record.count(total).await, 500);
}

#[tokio::test]
async fn a_batch_whose_connection_ends_is_taken_whole_by_the_next() {
    let mut bench = Bench::new().await;
    let login = bench.record.database.login("stampd_server");
    let events = || (0..2_000).map(|n| event(&format!("{n}"), n, bridge(1, 1, "A")));
    let items: Vec<Item> = events().map(|event| item(Ok(event))).collect();
    let step = [advance(None, 2_000)];
    // The rows that it needs are locked, so it is in the middle of its work when it is killed.
    let mut victim = open(&login).await;
    let holder = bench.record.database.admin().connect().await;
    holder.batch_execute("BEGIN; LOCK TABLE bridge_states").await.unwrap();
    let taking = victim.take(GROUP, &items, &step);
    let killing = async {
        let waiting = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND datname = current_database()";
        wait_for_async("it waits and is killed", async || {
            let killed = bench.admin.query(waiting, &[]).await.unwrap();
            (!killed.is_empty()).then_some(())
        })
        .await;
    };
    let (taken, ()) = tokio::join!(taking, killing);
    let Err(TakeError::Store(error)) = taken else { panic!("{taken:?}") };
    assert_eq!(error.class(), Class::Retry, "{error}");
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(bench.record.count("SELECT count(*) FROM adapter_offsets").await, 0);

    let taken = open(&login).await.take(GROUP, &items, &step).await.unwrap();
    assert_eq!(taken.events, 2_000);
    let total = "SELECT total_workflows_processed FROM bridge_states";
    assert_eq!(bench.record.count(total).await, 2_000);
}

fn question(entity_type: &str, filters: Value) -> Query {
    Query {
        entity_type: entity_type.to_owned(),
        filters: map(filters),
        sort_by: Some("created_at".to_owned()),
        sort_order: Some("desc".to_owned()),
        limit: 2,
        offset: 0,
    }
}

#[tokio::test]
async fn a_question_is_answered_from_the_rows_and_changes_nothing() {
    let mut bench = Bench::new().await;
    let steps = (0..4).map(|n| event(&format!("{n}"), i64::from(n), step(workflow(), n)));
    bench.take(steps.chain([event("w", 1, started(json!({})))]).collect()).await;
    let session = bench.intake.session();
    let asked = question("workflow_step", json!({ "step_order__lt": 3, "status": "COMPLETED" }));
    let Answer { rows, has_more } = queries::answer(session, &asked).await.unwrap();
    let orders: Vec<&Value> = rows.iter().map(|row| &row["step_order"]).collect();
    assert_eq!((orders, has_more), (vec![&json!(2), &json!(1)], true));
    assert_eq!(rows[0]["step_data"], json!({ "n": 2 }));
    assert_eq!(rows[0]["created_at"], "2025-11-24T16:00:02+00:00");
    assert!(rows[0].get("event_key").is_none());
    let rest = Query { offset: 2, ..asked };
    let Answer { rows, has_more } = queries::answer(session, &rest).await.unwrap();
    assert_eq!((rows.len(), has_more), (1, false));

    // Stored inert, compared as text.
    let injected = question("workflow_step", json!({ "step_name": "'; DROP TABLE gaps; --" }));
    assert_eq!(queries::answer(session, &injected).await.unwrap(), Answer::default());
    for (entity, filters) in [
        ("stampd_tokens", json!({})),
        ("workflow_step", json!({ "1=1 OR step_name": "x" })),
        ("workflow_step", json!({ "step_order": 10_000_000_000_000_000_000_u64 })),
    ] {
        let error = queries::answer(session, &question(entity, filters)).await.unwrap_err();
        assert!(matches!(error, QueryError::Refused { .. }), "{error}");
    }
    for entity in ["workflow_execution", "metadata_stamp", "fsm_transition", "bridge_state"] {
        queries::answer(session, &question(entity, json!({}))).await.unwrap();
    }
    let nodes = Query { sort_by: None, ..question("node_heartbeat", json!({})) };
    assert_eq!(queries::answer(session, &nodes).await.unwrap(), Answer::default());
}

#[tokio::test]
async fn a_closed_intake_says_goodbye() {
    let bench = Bench::new().await;
    bench.intake.close(Instant::now() + Duration::from_secs(5)).await;
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND usename LIKE 'login%'";
    wait_for_async("the session is gone", async || {
        (bench.record.count(left).await == 0).then_some(())
    })
    .await;
}
