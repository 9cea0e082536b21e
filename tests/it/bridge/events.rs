//! Events: each stamp's on the topic once, in order, whatever Kafka or another bridge does.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bridge, STAMP, content};
use crate::support::broker::Broker;
use crate::support::kafka::{Record, Topic, plaintext, read_to_end};
use crate::support::postgres::{Address, Database};
use crate::support::process::Home;
use crate::support::proxy::Road;
use crate::support::wait::{wait_for, wait_until};
use crate::support::web::Web;
use crate::support::{bed, random_name};

/// A home whose bridges publish to a topic.
pub fn home(database: &Address, brokers: &str, topic: &str) -> Home {
    let mut home = super::home(database);
    home.set("KAFKA_BOOTSTRAP_SERVERS", brokers);
    home.set("STAMPD_KAFKA__TOPIC", topic);
    home
}

/// The positions of each stream that are on a topic, in their order there.
fn positions(records: &[Record]) -> BTreeMap<String, Vec<u64>> {
    let mut streams: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records {
        let stamp = &record.json()["payload"]["stamp"];
        let stream = stamp["stream"].as_str().expect("a stamp has a stream").to_owned();
        assert_eq!(record.key, stream.as_bytes(), "an event's key is its stream");
        streams.entry(stream).or_default().push(stamp["seq"].as_u64().expect("a seq"));
    }
    streams
}

/// Demands that every stream is there from its begin, in order and without a gap.
fn assert_in_order(records: &[Record]) {
    for (stream, seqs) in positions(records) {
        let expected: Vec<u64> = (0..seqs.len() as u64).collect();
        assert_eq!(seqs, expected, "{stream}");
    }
}

/// The events of stamps that were asked for, without those by which a stream tells of itself.
fn of_stamps(records: &[Record]) -> Vec<&Record> {
    let is_api = |record: &&Record| record.json()["payload"]["stamp"]["kind"] == "api";
    records.iter().filter(is_api).collect()
}

fn stamp_unpublished(web: Web, caller: u32, number: u32) {
    let reply = web.post(STAMP, &content(&format!("{caller}-{number}")));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["kafka_event_published"], false, "it lied");
}

/// Events that wait; a row of the outbox holds those of all who shared a commit.
pub fn depth(database: &Address) -> i64 {
    database.value("SELECT coalesce(sum(next_seq - first_seq), 0)::bigint FROM outbox")
}

#[test]
fn a_hundred_identical_requests_at_once_make_one_row_and_one_event() {
    let database = Database::create();
    let topic = Topic::create(3);
    let home = home(&database.admin(), &bed("STAMPD_TEST_KAFKA"), topic.name());
    let bridge = Bridge::start(&home, "bridge");
    let mut body = content("the same");
    body["correlation_id"] = "corr-1".into();
    let replies: Vec<_> = std::thread::scope(|scope| {
        let ask = || bridge.web.post(STAMP, &body);
        let callers: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let told: BTreeSet<String> = replies
        .iter()
        .map(|reply| {
            assert_eq!(reply.status, 200, "{reply:?}");
            let data = &reply.json()["data"];
            format!("{} {} {}", data["stamp_id"], data["created_at"], data["stamp"])
        })
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(database.admin().value::<i64>("SELECT count(*) FROM metadata_stamps"), 1);
    wait_until("the outbox is empty", || depth(&database.admin()) == 0);
    let records = topic.read_to_end();
    let events = of_stamps(&records);
    assert_eq!(events.len(), 1);
    let event = events[0].json();
    assert_eq!(
        (event["event_type"].as_str(), event["correlation_id"].as_str()),
        (Some("STAMP_CREATED"), Some("corr-1"))
    );
    assert!(bridge.process.terminate().success());
}

#[test]
fn a_reply_that_says_published_is_never_wrong() {
    let database = Database::create();
    let topic = Topic::create(1);
    let mut home = home(&database.admin(), &bed("STAMPD_TEST_KAFKA"), topic.name());
    home.set("STAMPD_KAFKA__PUBLISH_WAIT", "10s");
    let bridge = Bridge::start(&home, "bridge");
    // The first events wait for the road to open.
    let published = wait_for("an event is published within its request", || {
        let text = random_name("content");
        let reply = bridge.web.post(STAMP, &content(&text)).json();
        (reply["kafka_event_published"] == true).then(|| reply["stamp_id"].clone())
    });
    let records = topic.read_to_end();
    let on_topic = of_stamps(&records);
    assert!(on_topic.iter().any(|event| event.json()["payload"]["stamp_id"] == published));
    assert!(bridge.process.terminate().success());
}

#[test]
fn what_was_stamped_while_kafka_was_away_is_on_the_topic_in_order_when_it_is_back() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let broker = runtime.block_on(Broker::start());
    broker.proxy.set(Road::Cut);
    let database = Database::create();
    let topic = random_name("it");
    let home = home(&database.admin(), &broker.address(), &topic);
    let bridge = Bridge::start(&home, "bridge");
    std::thread::scope(|scope| {
        for caller in 0..10 {
            let web = bridge.web;
            scope.spawn(move || (0..100).for_each(|number| stamp_unpublished(web, caller, number)));
        }
    });
    let waiting = depth(&database.admin());
    assert!(waiting >= 1_000, "{waiting}");
    broker.proxy.set(Road::Open);
    wait_until("the outbox is empty", || depth(&database.admin()) == 0);
    let records = read_to_end(broker.client(), &topic, 3);
    assert_in_order(&records);
    assert_eq!(of_stamps(&records).len(), 1_000);
    assert!(bridge.process.terminate().success());
}

#[test]
fn two_bridges_on_one_record_share_its_stamps_and_its_events() {
    let database = Database::create();
    let topic = Topic::create(3);
    let home = home(&database.admin(), &bed("STAMPD_TEST_KAFKA"), topic.name());
    let bridges = [Bridge::start(&home, "one"), Bridge::start(&home, "two")];
    let ids: Vec<BTreeSet<String>> = std::thread::scope(|scope| {
        let ask = |web: Web| {
            move || {
                let stamp = |number| web.post(STAMP, &content(&format!("shared-{number}")));
                let id = |number| stamp(number).json()["stamp_id"].as_str().unwrap().to_owned();
                (0..200).map(id).collect()
            }
        };
        let callers: Vec<_> = bridges.iter().map(|bridge| scope.spawn(ask(bridge.web))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(ids[0], ids[1], "both tell the same stamps");
    assert_eq!(database.admin().value::<i64>("SELECT count(*) FROM metadata_stamps"), 200);
    // The one that remains publishes what the other left.
    let [one, two] = bridges;
    one.process.kill();
    wait_until("the outbox is empty", || depth(&database.admin()) == 0);
    let records = read_to_end(plaintext(), topic.name(), 3);
    let identities: BTreeSet<_> = records.iter().map(|record| record.header("ce_id")).collect();
    let stamps = of_stamps(&records);
    let distinct: BTreeSet<_> = stamps.iter().map(|record| record.header("ce_id")).collect();
    assert_eq!(
        distinct.len(),
        200,
        "of {} records, {} identities",
        records.len(),
        identities.len()
    );
    assert!(two.process.terminate().success());
}
