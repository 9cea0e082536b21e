//! Sync against real brokers: killed, cut off, half open, encrypted, and refusing.

use std::path::PathBuf;
use std::time::Duration;

use stampd::model::class::Class;
use stampd::model::rung::Height;
use stampd::model::status::ReachState;
use stampd::runtime::secret::Secret;
use stampd::sink::Sink;
use stampd::sink::kafka::{Config, Kafka, Mechanism, Security};

use crate::support::broker::Broker;
use crate::support::kafka::{Record, Topic, read_to_end};
use crate::support::proxy::Road;
use crate::support::record::{piece, stream};
use crate::support::wait::wait_for_async;
use crate::support::{bed, random_name};
use crate::sync::desk::{Courier, Desk};

/// Partitions that the test's own broker gives a topic.
const PARTITIONS: i32 = 3;

fn sink(broker: &Broker, topic: &str) -> Kafka {
    Kafka::new(Config {
        brokers: vec![broker.address()],
        topic: topic.to_owned(),
        progress_timeout: Duration::from_secs(2),
        down_timeout: Duration::from_millis(200),
        ..Config::default()
    })
}

/// Waits until the topic has some of the stamps, with most of them still to come.
async fn under_way(courier: &Courier, total: u64) {
    wait_for_async("it is under way", async || {
        let queued = courier.handle.status().queued;
        (queued > 0 && queued < total).then_some(())
    })
    .await;
}

/// Demands that a reader who keeps the first record of each `ce_id` has the whole stream in order.
fn each_once_in_order(desk: &Desk, records: &[Record]) {
    let stream = desk.stream();
    let mut next = 0;
    for record in records {
        assert_eq!(record.key, stream.to_string().as_bytes());
        let seq: u64 = record.header("ce_id").split_once('/').unwrap().1.parse().unwrap();
        assert!(seq <= next, "{seq} came where {next} was to come");
        next = next.max(seq + 1);
    }
    let leaves: Vec<String> = desk.leaves(stream).iter().map(ToString::to_string).collect();
    let mut found = vec![String::new(); leaves.len()];
    for record in records {
        let seq: usize = record.header("ce_id").split_once('/').unwrap().1.parse().unwrap();
        record.header("stampd_leaf").clone_into(&mut found[seq]);
    }
    assert_eq!(found, leaves);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_in_mid_batch_and_restarted_has_every_stamp_in_order() {
    let (mut desk, mut broker, topic) = (Desk::new(), Broker::start().await, random_name("it"));
    desk.stamp(60_000).await;
    let courier = desk.deliver_to(sink(&broker, &topic));
    for _ in 0..2 {
        under_way(&courier, 60_001).await;
        broker.kill();
        courier.state(ReachState::Offline, "").await;
        broker.restart();
    }
    courier.confirmed().await;
    courier.stop().await;
    each_once_in_order(&desk, &read_to_end(broker.client(), &topic, PARTITIONS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_road_that_is_cut_and_half_open_loses_nothing() {
    let (mut desk, broker, topic) = (Desk::new(), Broker::start().await, random_name("it"));
    desk.stamp(30_000).await;
    let courier = desk.deliver_to(sink(&broker, &topic));
    under_way(&courier, 30_001).await;
    for road in [Road::Cut, Road::BlackHole, Road::Cut] {
        broker.proxy.set(road);
        wait_for_async("it is noticed", async || {
            (courier.handle.status().state != ReachState::Online).then_some(())
        })
        .await;
        broker.proxy.set(Road::Open);
        desk.stamp(3_000).await;
    }
    broker.proxy.set(Road::Slow(Duration::from_millis(20)));
    courier.confirmed().await;
    courier.stop().await;
    broker.proxy.set(Road::Open);
    each_once_in_order(&desk, &read_to_end(broker.client(), &topic, PARTITIONS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_starts_later_gets_what_was_stamped_before() {
    let (mut desk, mut broker, topic) = (Desk::new(), Broker::start().await, random_name("it"));
    broker.kill();
    desk.stamp(10).await;
    let courier = desk.deliver_to(sink(&broker, &topic));
    courier.state(ReachState::Offline, "").await;
    desk.stamp(10).await;
    broker.restart();
    courier.confirmed().await;
    courier.stop().await;
    each_once_in_order(&desk, &read_to_end(broker.client(), &topic, PARTITIONS));
}

/// The listener of the test bed that asks for TLS and a login.
fn guarded(topic: &str) -> Config {
    Config {
        brokers: vec![bed("STAMPD_TEST_KAFKA_SASL")],
        topic: topic.to_owned(),
        security: Security::SaslSsl,
        username: Some(bed("STAMPD_TEST_USER")),
        password: Some(Secret::env("PASSWORD", &bed("STAMPD_TEST_PASSWORD"))),
        ca_file: Some(PathBuf::from(bed("STAMPD_TEST_CA"))),
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_every_mechanism_leads_to_the_topic() {
    let topic = Topic::create(1);
    let (stream, mut end) = (stream(), 0);
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
        let mut sink = Kafka::new(Config { mechanism, ..guarded(topic.name()) });
        sink.probe().await.unwrap_or_else(|rung| panic!("{mechanism:?}: {rung}"));
        let delivery = sink.deliver(&piece(stream, end..end + 5)).await.unwrap();
        end += 5;
        assert_eq!(delivery.size, end, "{mechanism:?}");
    }
    assert_eq!(topic.read_to_end().len(), 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_needs_a_person() {
    let topic = Topic::create(1);
    let password = Some(Secret::env("PASSWORD", "wrong"));
    let mut sink = Kafka::new(Config { password, ..guarded(topic.name()) });
    let rung = sink.probe().await.unwrap_err();
    assert_eq!((rung.height, rung.class), (Height::Application, Class::Park), "{rung}");
    assert!(rung.text.contains("check [kafka] username, password"), "{rung}");
    assert!(!rung.text.contains("wrong"), "a secret is never shown: {rung}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_nobody_knows_is_named_by_the_ladder() {
    let mut desk = Desk::new();
    desk.stamp(1).await;
    let config = Config { ca_file: None, ..guarded("it") };
    let courier = desk.deliver_to(Kafka::new(config));
    let status = courier.state(ReachState::Offline, "TLS with localhost:").await;
    assert!(status.reason.unwrap().contains("certificate"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_cannot_be_is_named() {
    let config = Config {
        brokers: vec![bed("STAMPD_TEST_KAFKA")],
        topic: "not a topic".to_owned(),
        ..Config::default()
    };
    let rung = Kafka::new(config).probe().await.unwrap_err();
    assert_eq!(rung.class, Class::Park, "{rung}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_missing_is_created() {
    let name = random_name("it");
    let config = Config {
        brokers: vec![bed("STAMPD_TEST_KAFKA")],
        topic: name.clone(),
        ..Config::default()
    };
    let mut sink = Kafka::new(config);
    sink.probe().await.unwrap();
    sink.deliver(&piece(stream(), 0..2)).await.unwrap();
    let topic = Topic::adopt(name, 1);
    assert_eq!(topic.read_to_end().len(), 2);
}
