//! Sync through a bridge: three roads at once, restarts, revoked tokens, copied spools.

use stampd::model::stamp::Kind;
use stampd::model::status::ReachState;
use stampd::sink::Sink as _;
use stampd::sink::kafka::Kafka;
use stampd::sink::postgres::Postgres;

use crate::conformance::kafka_config;
use crate::support::bridge::Server;
use crate::support::kafka::Topic;
use crate::support::record::{config, entry, stamp};
use crate::support::wait::wait_for_async;
use crate::sync::desk::{Desk, equal};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_three_roads_at_once_each_stamp_is_one_row_and_one_event() {
    let (mut desk, server, topic) = (Desk::new(), Server::start().await, Topic::create(3));
    let token = server.token("ann", &[]).await;
    let direct = Postgres::new(&config(&server.record.agent)).expect("the config is good");
    let roads = [
        desk.deliver_to(direct),
        desk.deliver_to(Kafka::new(kafka_config(topic.name()))),
        desk.deliver_to(server.sink(&token)),
    ];
    for _ in 0..5 {
        desk.stamp(1_500).await;
    }
    for road in &roads {
        road.confirmed().await;
    }
    equal(&desk, &server.record).await;
    let stream = desk.stream();
    let batch = desk.batch(stream);
    let contents = batch.entries.iter().filter(|entry| match entry {
        stampd::model::batch::Entry::Stamp(sealed) => {
            matches!(sealed.stamp.kind, Kind::Created | Kind::Modified | Kind::Renamed)
        }
        stampd::model::batch::Entry::Withheld { .. } => false,
    });
    let rows = server.record.count("SELECT count(*) FROM metadata_stamps").await;
    assert_eq!(rows, contents.count() as i64);
    // What the bridge puts onto the topic has the identity of what the agent puts there: stream/seq.
    let due = format!(
        "SELECT count(DISTINCT seq) FROM outbox, generate_series(first_seq, next_seq - 1) seq
         WHERE stream_id = '{stream}'"
    );
    assert_eq!(server.record.count(&due).await, batch.end() as i64);
    let published: std::collections::BTreeSet<String> =
        topic.read_to_end().iter().map(|record| record.header("ce_id").to_owned()).collect();
    assert_eq!(published.len() as u64, batch.end());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_is_restarted_in_the_middle_loses_and_doubles_nothing() {
    let (mut desk, mut server) = (Desk::new(), Server::start().await);
    let token = server.token("ann", &[]).await;
    let courier = desk.deliver_to(server.sink(&token));
    for _ in 0..8 {
        desk.stamp(900).await;
        server.restart().await;
    }
    courier.confirmed().await;
    equal(&desk, &server.record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_parks_the_sink_and_says_what_to_do() {
    let (mut desk, server) = (Desk::new(), Server::start().await);
    let token = server.token("ann", &[]).await;
    let courier = desk.deliver_to(server.sink(&token));
    desk.stamp(10).await;
    courier.confirmed().await;
    server.revoke("ann").await;
    desk.stamp(10).await;
    courier.state(ReachState::Parked, "stampd token new").await;
    assert_eq!(courier.handle.status().queued, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_spool_goes_on_in_a_new_stream() {
    let (mut desk, server) = (Desk::new(), Server::start().await);
    let token = server.token("ann", &[]).await;
    desk.stamp(9).await;
    let stream = desk.stream();
    let mut forked = desk.batch(stream);
    forked.entries.truncate(5);
    forked.entries.push(entry(stamp(stream, 5)));
    let mut copy = server.sink(&token);
    copy.probe().await.expect("the bridge is there");
    copy.deliver(&forked).await.expect("it is taken");
    let courier = desk.deliver_to(server.sink(&token));
    wait_for_async("a new stream is opened", async || (desk.streams().len() == 2).then_some(()))
        .await;
    courier.confirmed().await;
    assert_eq!(courier.handle.status().queued, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_restored_to_an_older_state_gets_the_rest_again() {
    let (mut desk, server) = (Desk::new(), Server::start().await);
    let token = server.token("ann", &[]).await;
    desk.stamp(3_000).await;
    let courier = desk.deliver_to(server.sink(&token));
    courier.confirmed().await;
    server.record.database.batch(
        "SET session_replication_role = replica;
         DELETE FROM stamp_events WHERE seq >= 40;
         UPDATE streams SET size = 40, published = 40",
    );
    desk.stamp(5).await;
    courier.confirmed().await;
    equal(&desk, &server.record).await;
}
