//! Sync against a real record in Postgres: other roads, restored backups, forks and broken sessions.

use stampd::model::batch::{Batch, Entry};
use stampd::model::status::ReachState;
use stampd::sink::Sink;
use stampd::sink::postgres::Postgres;
use stampd::store::migrate;

use crate::support::postgres::{Address, Database};
use crate::support::record::{Record, config, entry, session, stamp};
use crate::support::wait::wait_for_async;
use crate::sync::desk::{Desk, equal};

fn sink(address: &Address) -> Postgres {
    Postgres::new(&config(address)).expect("the config is good")
}

/// Takes a batch there by another road.
async fn take(address: &Address, batch: &Batch) {
    let mut other = sink(address);
    other.probe().await.expect("the record is there");
    other.deliver(batch).await.expect("it is taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_restored_to_an_older_state_gets_the_rest_again() {
    let (mut desk, record) = (Desk::new(), Record::create().await);
    desk.stamp(6_000).await;
    let courier = desk.deliver_to(sink(&record.agent));
    courier.confirmed().await;
    record.database.batch(
        "SET session_replication_role = replica;
         DELETE FROM stamp_events WHERE seq >= 40;
         UPDATE streams SET size = 40",
    );
    desk.stamp(5).await;
    courier.confirmed().await;
    equal(&desk, &record).await;
    assert_eq!(desk.streams().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_faster_road_brought_is_there_once() {
    let (mut desk, record) = (Desk::new(), Record::create().await);
    desk.stamp(500).await;
    take(&record.agent, &desk.batch(desk.stream())).await;
    desk.stamp(50).await;
    let courier = desk.deliver_to(sink(&record.agent));
    courier.confirmed().await;
    equal(&desk, &record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_goes_on_in_a_new_stream() {
    let (mut desk, record) = (Desk::new(), Record::create().await);
    desk.stamp(9).await;
    let stream = desk.stream();
    let mut forked = desk.batch(stream);
    forked.entries.truncate(5);
    forked.entries.push(entry(stamp(stream, 5)));
    take(&record.agent, &forked).await;
    let courier = desk.deliver_to(sink(&record.agent));
    wait_for_async("a new stream is opened", async || (desk.streams().len() == 2).then_some(()))
        .await;
    courier.confirmed().await;
    let (second, size) = desk.streams()[1];
    let held = format!("SELECT size FROM streams WHERE stream_id = '{second}'");
    assert_eq!((size, record.count(&held).await), (6, 6));
    assert_eq!(courier.handle.status().queued, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_terminated_lose_and_double_nothing() {
    let (mut desk, record) = (Desk::new(), Record::create().await);
    let courier = desk.deliver_to(sink(&record.agent));
    for _ in 0..10 {
        desk.stamp(700).await;
        record.database.batch(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'",
            record.agent.user
        ));
    }
    courier.confirmed().await;
    equal(&desk, &record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_never_migrated_is_parked_until_it_is() {
    let (mut desk, database) = (Desk::new(), Database::create());
    desk.stamp(20).await;
    let courier = desk.deliver_to(sink(&database.admin()));
    courier.state(ReachState::Parked, "stampd migrate").await;
    migrate::run(&mut session(&database.admin()).await, &mut |_| ()).await.expect("it migrates");
    courier.confirmed().await;
    courier.state(ReachState::Online, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_poisoned_stamp_is_set_aside_and_taken_once_the_cause_is_gone() {
    let (mut desk, record) = (Desk::new(), Record::create().await);
    record.database.batch("ALTER TABLE stamp_events ADD CONSTRAINT poison CHECK (seq <> 3210)");
    desk.stamp(5_000).await;
    let courier = desk.deliver_to(sink(&record.agent));
    courier.confirmed().await;
    let withheld = "SELECT count(*) FROM withheld";
    assert_eq!((courier.handle.status().dead_letters, record.count(withheld).await), (1, 1));
    record.database.batch("ALTER TABLE stamp_events DROP CONSTRAINT poison");
    courier.handle.retry_dead(desk.stream(), 3_210).await.expect("it is taken now");
    assert_eq!(courier.handle.status().dead_letters, 0);
    equal(&desk, &record).await;
    assert!(matches!(desk.batch(desk.stream()).entries[3_210], Entry::Stamp(_)));
}
