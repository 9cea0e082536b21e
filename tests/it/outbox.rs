//! The publisher against real servers: every stamp of the desk on the topic, in order for each key.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use stampd::outbox::{Config, Publisher, Road, new};
use stampd::sink::kafka;
use stampd::store::address;
use stampd::store::outbox::{Ask, Outbox, Shards, runs};
use stampd::store::stamps::{self, Desk};
use tokio_util::sync::CancellationToken;

use crate::stamps::{desk_with, order};
use crate::support::broker::Broker;
use crate::support::kafka::{self as topics, Topic, read_to_end};
use crate::support::postgres::Address;
use crate::support::proxy::{Proxy, Road as Way};
use crate::support::record::{Record, config};
use crate::support::wait::{DEADLINE, wait_for_async};
use crate::support::{bed, random_name};

const PARTITIONS: i32 = 3;

/// A bridge's store side: a desk, and a publisher whose task ends with the value.
struct Bridge {
    desk: Desk,
    publisher: Publisher,
    stop: CancellationToken,
}

impl Bridge {
    fn start(server: &Address, brokers: String, topic: &str) -> Self {
        Self::start_with(server, brokers, topic, |_| (), |_| ())
    }

    fn start_with(
        server: &Address,
        brokers: String,
        topic: &str,
        change: impl FnOnce(&mut Config),
        change_desk: impl FnOnce(&mut stamps::Config),
    ) -> Self {
        let kafka = kafka::Config {
            brokers: vec![brokers],
            topic: topic.to_owned(),
            progress_timeout: Duration::from_secs(2),
            down_timeout: Duration::from_millis(200),
            ..kafka::Config::default()
        };
        let retry = (Duration::from_millis(50), Duration::from_millis(200));
        let sweep = Duration::from_millis(100);
        let mut publishing = Config { retry, sweep, ..Config::new(config(server), kafka) };
        change(&mut publishing);
        let (publisher, drain) = new(publishing).unwrap();
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "ends with the value, in a test")]
        tokio::spawn(drain.run(stop.clone()));
        let desk = desk_with(server, |config| {
            config.outbox = Some(publisher.tray());
            change_desk(config);
        });
        Self { desk, publisher, stop }
    }

    /// Stamps contents by these numbers, one request each; the rows of the outbox.
    async fn stamp(&self, numbers: std::ops::Range<u32>) -> Vec<i64> {
        let mut rows = Vec::new();
        for number in numbers {
            let mut order = order(&number.to_string());
            order.correlation_id = Some(format!("request-{number}"));
            let stamped = self.desk.stamp(vec![order]).await.unwrap().remove(0).unwrap();
            rows.push(stamped.event.unwrap());
        }
        rows
    }

    async fn road(&self, fits: impl Fn(&Road) -> bool) {
        wait_for_async("the road is as it should be", async || {
            fits(&self.publisher.status().road).then_some(())
        })
        .await;
    }

    /// Waits until nothing waits any more.
    async fn drained(&self, record: &Record) {
        wait_for_async("the outbox is empty", async || {
            (record.count("SELECT count(*) FROM outbox").await == 0).then_some(())
        })
        .await;
        wait_for_async("the publisher says so", async || {
            (self.publisher.status().depth.entries == 0).then_some(())
        })
        .await;
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn server(record: &mut Record) -> Address {
    record.database.login("stampd_server")
}

/// Demands that a reader who keeps the first record of each `ce_id` has every stamp of every
/// stream, in order; returns how many records there were.
async fn each_once_in_order(record: &Record, records: &[topics::Record]) -> usize {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for record in records {
        let (stream, seq) = record.header("ce_id").split_once('/').unwrap();
        assert_eq!(record.key, stream.as_bytes());
        let (seq, next) = (seq.parse::<u64>().unwrap(), next.entry(stream.to_owned()).or_default());
        assert!(seq <= *next, "{seq} came where {next} was to come");
        *next = (*next).max(seq + 1);
    }
    let sizes = record.database.admin().connect().await;
    let sizes = sizes.query("SELECT stream_id::text, size FROM streams", &[]).await.unwrap();
    let sizes: BTreeMap<String, u64> =
        sizes.iter().map(|row| (row.get(0), row.get::<_, i64>(1) as u64)).collect();
    assert_eq!(next, sizes);
    records.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stamp_is_published_with_its_request_and_said_to_be() {
    let (mut record, topic) = (Record::create().await, Topic::create(PARTITIONS));
    let bridge = Bridge::start(&server(&mut record), bed("STAMPD_TEST_KAFKA"), topic.name());
    bridge.road(|road| *road == Road::Open).await;
    for row in bridge.stamp(0..20).await {
        assert!(bridge.publisher.published(row, DEADLINE).await);
        assert!(bridge.publisher.published(row, Duration::ZERO).await, "also later");
    }
    assert!(!bridge.publisher.published(i64::MAX, Duration::ZERO).await);
    // A repeat makes no event.
    let again = bridge.desk.stamp(vec![order("7")]).await.unwrap().remove(0).unwrap();
    assert_eq!(again.event, None);
    bridge.drained(&record).await;
    let records = topic.read_to_end();
    assert_eq!(each_once_in_order(&record, &records).await, 21);
    let event = records.iter().find(|record| record.json()["correlation_id"] == "request-7");
    let event = event.unwrap().json();
    assert_eq!(event["event_type"], "STAMP_CREATED");
    assert_eq!(event["payload"]["stamp_id"], json!(again.row.id));
    assert_eq!(event["payload"]["stamp_data"]["stamp"], "# ONEX:uid=7");
    assert_eq!(bridge.publisher.status().published, 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stamped_while_kafka_is_away_follows_in_order() {
    let (mut record, mut broker, topic) =
        (Record::create().await, Broker::start().await, random_name("it"));
    let bridge = Bridge::start(&server(&mut record), broker.address(), &topic);
    bridge.stamp(0..10).await;
    bridge.road(|road| *road == Road::Open).await;
    broker.kill();
    let rows = bridge.stamp(10..1_000).await;
    bridge.road(|road| matches!(road, Road::Closed(_))).await;
    let last = *rows.last().unwrap();
    assert!(!bridge.publisher.published(last, DEADLINE).await, "it is said at once");
    wait_for_async("the depth is told", async || {
        (bridge.publisher.status().depth.entries >= 990).then_some(())
    })
    .await;
    broker.restart();
    bridge.drained(&record).await;
    assert!(bridge.publisher.published(last, Duration::ZERO).await);
    each_once_in_order(&record, &read_to_end(broker.client(), &topic, PARTITIONS)).await;
    assert_eq!(record.count("SELECT count(*) FROM stamp_events").await, 1_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_at_rest_goes_on_when_the_desk_finds_the_database_again() {
    let (mut record, topic) = (Record::create().await, Topic::create(PARTITIONS));
    let server = server(&mut record);
    let proxy = Proxy::to(format!("{}:{}", server.host, server.port).parse().unwrap(), Way::Open);
    let proxy = proxy.await;
    let through = Address { port: proxy.address().port(), ..server };
    let an_hour = Duration::from_hours(1);
    let bridge = Bridge::start_with(
        &through,
        bed("STAMPD_TEST_KAFKA"),
        topic.name(),
        // After the first failure it rests for longer than any test.
        |publisher| publisher.retry = (an_hour, an_hour),
        |_| (),
    );
    bridge.road(|road| *road == Road::Open).await;
    bridge.stamp(0..3).await;
    proxy.set(Way::Cut);
    bridge.road(|road| matches!(road, Road::Closed(_))).await;
    wait_for_async("the desk notices", async || {
        bridge.desk.stamp(vec![order("away")]).await.is_err().then_some(())
    })
    .await;
    proxy.set(Way::Open);
    wait_for_async("the desk is back", async || bridge.desk.stamp(vec![order("back")]).await.ok())
        .await;
    bridge.drained(&record).await;
    each_once_in_order(&record, &topic.read_to_end()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_bridges_publish_each_stamp_once_and_one_takes_over_from_the_other() {
    let (mut record, topic) = (Record::create().await, Topic::create(PARTITIONS));
    let server = server(&mut record);
    let bridges = [0, 1].map(|_| Bridge::start(&server, bed("STAMPD_TEST_KAFKA"), topic.name()));
    let [left, right] = &bridges;
    tokio::join!(left.stamp(0..200), right.stamp(200..400));
    left.drained(&record).await;
    let records = topic.read_to_end();
    assert_eq!(each_once_in_order(&record, &records).await, 402, "none is there twice");
    // What a bridge leaves behind, the other one finds by itself.
    left.stop.cancel();
    left.stamp(400..450).await;
    right.drained(&record).await;
    each_once_in_order(&record, &topic.read_to_end()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bridges_whose_streams_share_shards_take_turns_and_double_nothing() {
    let (mut record, topic) = (Record::create().await, Topic::create(PARTITIONS));
    let server = server(&mut record);
    // Two bridges with eight streams each in sixteen shards are in each other's way.
    let crowded = [0, 1].map(|_| {
        let brokers = bed("STAMPD_TEST_KAFKA");
        Bridge::start_with(&server, brokers, topic.name(), |_| (), |desk| desk.writers = 8)
    });
    let stamp = |bridge: usize, caller: u32| {
        let first = bridge as u32 * 10_000 + caller * 100;
        crowded[bridge].stamp(first..first + 50)
    };
    let callers = |bridge| async move {
        tokio::join!(stamp(bridge, 0), stamp(bridge, 1), stamp(bridge, 2), stamp(bridge, 3));
    };
    tokio::join!(callers(0), callers(1));
    crowded[0].drained(&record).await;
    let records = topic.read_to_end();
    let sent = each_once_in_order(&record, &records).await as i64;
    assert_eq!(sent, record.count("SELECT count(*) FROM stamp_events").await, "none is twice");
}

#[tokio::test]
async fn a_shard_has_one_owner_who_is_told_of_the_others_wishes() {
    let mut record = Record::create().await;
    let server = server(&mut record);
    let desk = desk_with(&server, |_| ());
    desk.stamp(vec![order("a")]).await.unwrap();
    let way = address::Address::parse(&config(&server)).unwrap();
    let [mut left, mut right] =
        [Outbox::open(&way).await.unwrap(), Outbox::open(&way).await.unwrap()];
    let all: Shards = (0..16).map(Shards::one).collect();
    let claim = || Ask { claim: all, ..Ask::default() };

    let found = left.exchange(&claim()).await.unwrap();
    assert_eq!(found.claimed, all);
    let [opened, stamped] = found.pieces[..] else { panic!("{:?}", found.pieces) };
    let shard = stamped.shard();
    let other = right.exchange(&claim()).await.unwrap();
    assert!(other.claimed.is_empty());
    assert_eq!(other.pieces, found.pieces, "who does not own it sees that something waits");

    let watch = || Ask { watch: all, ..Ask::default() };
    assert!(left.exchange(&watch()).await.unwrap().wished.is_empty());
    let wish = Ask { wish: shard, ..Ask::default() };
    right.exchange(&wish).await.unwrap();
    assert_eq!(left.exchange(&watch()).await.unwrap().wished, shard);
    assert_eq!(left.exchange(&watch()).await.unwrap().wished, shard, "for as long as it lasts");

    let loads = left.load(runs(&found.pieces)).await.unwrap();
    assert_eq!((loads.len(), loads[0].batch.entries.len()), (1, 2));
    let mut ask = Ask { release: shard, ..Ask::default() };
    ask.gone.add(&[opened, stamped], stamped.next_seq);
    left.exchange(&ask).await.unwrap();
    let turn = right.exchange(&claim()).await.unwrap();
    assert_eq!((turn.claimed, turn.pieces), (shard, vec![]));
    assert!(
        left.exchange(&watch()).await.unwrap().wished.is_empty(),
        "a wish is over when asked so"
    );
    drop(right);
    wait_for_async("what the dead one had is free", async || {
        let again = left.exchange(&Ask { claim: shard, ..Ask::default() }).await.unwrap();
        (again.claimed == shard).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stamp_that_the_broker_refuses_is_told_by_its_leaf_and_stops_nobody() {
    let (mut record, topic) = (Record::create().await, Topic::create(PARTITIONS));
    let bridge = Bridge::start(&server(&mut record), bed("STAMPD_TEST_KAFKA"), topic.name());
    bridge.road(|road| *road == Road::Open).await;
    bridge.stamp(0..3).await;
    let mut large = order("large");
    large.metadata.insert("blob".to_owned(), "x".repeat(2_000_000).into());
    let row = bridge.desk.stamp(vec![large]).await.unwrap().remove(0).unwrap().event.unwrap();
    let after = bridge.stamp(3..6).await;
    assert!(bridge.publisher.published(after[2], DEADLINE).await);
    assert!(!bridge.publisher.published(row, Duration::ZERO).await, "nobody is told a lie");
    bridge.drained(&record).await;
    let records = topic.read_to_end();
    each_once_in_order(&record, &records).await;
    let withheld: Vec<_> =
        records.iter().filter(|record| !record.json()["payload"]["withheld"].is_null()).collect();
    assert_eq!(withheld.len(), 1);
    assert!(withheld[0].header("ce_id").ends_with("/4"));
    assert_eq!(bridge.publisher.status().refused, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_terminated_in_the_middle_lose_no_event() {
    let (mut record, topic) = (Record::create().await, Topic::create(PARTITIONS));
    let server = server(&mut record);
    let bridge = Bridge::start(&server, bed("STAMPD_TEST_KAFKA"), topic.name());
    let kill = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{}'",
        server.user
    );
    for round in 0..10 {
        let orders = || (round * 20..round * 20 + 20).map(|number| order(&number.to_string()));
        let insisting = wait_for_async("it is stamped", async || {
            let answers = bridge.desk.stamp(orders().collect()).await.ok()?;
            answers.iter().all(Result::is_ok).then_some(())
        });
        tokio::join!(insisting, record.count(&kill));
    }
    bridge.drained(&record).await;
    each_once_in_order(&record, &topic.read_to_end()).await;
    assert_eq!(record.count("SELECT count(*) FROM metadata_stamps").await, 200);
}
