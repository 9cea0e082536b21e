//! Adapters that are killed at every failpoint, between one durable step and the next: the tables end
//! as if one had run undisturbed.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use super::model::{prepare, send, wait_told};
use super::{Stage, uuid};
use crate::operations::model::history_of;
use crate::support::broker::Broker;
use crate::support::wait::wait_until;

/// The failpoints, and which passings of each end a life.
const FAILPOINTS: [(&str, &[u32]); 8] = [
    // All are given at once.
    ("partitions-placed", &[1]),
    ("record-read", &[1, 7]),
    ("question-answered", &[1, 3]),
    ("take-begun", &[1, 2, 7]),
    ("take-written", &[1, 2, 7]),
    ("take-committed", &[1, 2, 7]),
    ("kafka-told", &[1, 2, 7]),
    ("letter-published", &[1, 3]),
];

/// Questions and records that cannot be read, which come with each portion of events.
const OTHERS: usize = 3;

#[test]
fn every_failpoint_of_the_adapter_is_among_those_it_is_killed_at() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let of_adapter = std::fs::read_dir(src.join("adapter")).unwrap();
    let mut files: Vec<_> = of_adapter.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.push(src.join("store/operations.rs"));
    let texts = files.iter().map(|path| std::fs::read_to_string(path).unwrap());
    let text = texts.collect::<String>();
    let passed = text.split("failpoint::pass(\"").skip(1);
    let passed: BTreeSet<&str> = passed.map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(passed, FAILPOINTS.map(|(name, _)| name).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_failpoint_every_event_has_its_effect_once() {
    let broker = Broker::start().await;
    let mut stage = Stage::on(&broker.address());
    // So that nobody waits long for the dead, and a life has many transactions.
    stage.home.set("STAMPD_ADAPTER__SESSION_TIMEOUT", "1s");
    stage.home.set("STAMPD_ADAPTER__BATCH_ROWS_MAX", "20");
    prepare(&stage);
    let asked = stage.long("query-requested");
    let (dead, answers) =
        (format!("{}.dlq", stage.long("workflow-started")), stage.long("query-completed"));
    for topic in [&asked, &dead, &answers] {
        stage.topic(topic, 1);
    }
    let lives =
        FAILPOINTS.iter().flat_map(|(name, passings)| passings.iter().map(move |n| (name, n)));
    let lives: Vec<_> = lives.collect();
    let (events, orders) = history_of(100 * lives.len(), 3);
    let told: Vec<_> = orders.iter().flatten().map(|place| &events[*place]).collect();
    let portions = told.chunks(told.len().div_ceil(lives.len()));
    for (life, ((name, passing), portion)) in lives.iter().zip(portions).enumerate() {
        for (number, event) in portion.iter().enumerate() {
            send(&stage, &format!("{life} {number}"), event);
        }
        for _ in 0..OTHERS {
            send_others(&stage, &asked);
        }
        stage.flush();
        stage.home.set("STAMPD_FAILPOINT", &format!("{name}:{passing}"));
        let ended = stage.start("mortal").process.wait();
        assert_eq!(ended.signal(), Some(Signal::KILL.as_raw()), "{name}, passing {passing}");
    }
    stage.home.set("STAMPD_FAILPOINT", "none");
    let adapter = stage.start("last");
    let others = OTHERS * lives.len();
    wait_told(&stage, (told.len() + 2 * others) as i64, &events);
    assert_eq!(stage.count("adapter_dead"), others as i64);
    wait_until("all letters are published", || {
        stage.count("adapter_dead WHERE published_at IS NULL") == 0
    });
    // One that was published or answered twice says so by its identity.
    let letters = stage.wait_records(&dead, others);
    let places: BTreeSet<&str> = letters.iter().map(|letter| letter.header("ce_id")).collect();
    assert_eq!(places.len(), others);
    let answers = stage.wait_records(&answers, others);
    let answered: BTreeSet<&str> = answers.iter().map(|answer| answer.header("ce_id")).collect();
    assert_eq!(answered.len(), others);
    assert!(adapter.process.terminate().success());
}

/// Sends a question, and a record that cannot be read.
fn send_others(stage: &Stage, asked: &str) {
    let id = uuid();
    let question = json!({
        "event_id": id, "correlation_id": id,
        "payload": { "entity_type": "workflow_execution", "limit": 1 },
    });
    stage.send(asked, &id, &question);
    stage.send_bytes(&stage.long("workflow-started"), Some(id.as_bytes()), Some(b"garbage"), &[]);
}
