//! The desk: one row, one stamp and one event for each content, whatever happens on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use stampd::model::body;
use stampd::model::class::Class;
use stampd::model::content::{DigestOf, Order, Row, Stamped};
use stampd::model::digest::Digest;
use stampd::model::stamp::{Agent, Kind};
use stampd::runtime::time::Timestamp;
use stampd::store::StoreError;
use stampd::store::stamps::{Config, Desk, open};
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::postgres::Address;
use crate::support::proxy::{Proxy, Road};
use crate::support::record::{Record, config};
use crate::support::wait::{DEADLINE, wait_for_async};

/// A desk whose writer runs as long as there is a handle.
pub fn desk(server: &Address) -> Desk {
    desk_with(server, |_| ())
}

/// A desk of another config.
pub fn desk_with(server: &Address, change: impl FnOnce(&mut Config)) -> Desk {
    let agent = Agent { id: "bridge-1".into(), host: "host".into(), version: "0.1.0".into() };
    let namespace = "omninode.services.metadata".parse().unwrap();
    let mut config = Config::new(config(server), agent, namespace);
    config.outbox = Some(Arc::default());
    // One stream, in which the tests can count.
    config.writers = 1;
    change(&mut config);
    let (desk, writers) = open(&config).unwrap();
    for writer in writers {
        #[expect(clippy::disallowed_methods, reason = "ends with the desk, in a test")]
        tokio::spawn(writer.run());
    }
    desk
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("an object") };
    object
}

/// An order for a content, with everything that one can have.
pub fn order(content: &str) -> Order {
    Order {
        namespace: "projecta.services.metadata".parse().unwrap(),
        digest: Digest::of(content.as_bytes()),
        digest_of: DigestOf::OnexText,
        content_hash: Some(Digest::of(format!("{content}\n").as_bytes())),
        path: Some(format!("/srv/{content}.md")),
        size: Some(content.len() as u64),
        content_type: Some("text/markdown".into()),
        protocol_version: "1.1".into(),
        metadata_version: "0.2".into(),
        version: 3,
        op_id: Some(Uuid::from_u128(9)),
        correlation_id: Some("request-1".into()),
        stamp: Some(format!("# ONEX:uid={content}")),
        stamp_type: Some("lightweight".into()),
        metadata: object(json!({"ratio": 0.5, "who": "ö\u{1}\""})),
        stamp_data: object(json!({"more": [1, {"a": null}], "hash": "not theirs to say"})),
        intelligence: object(json!({"score": 1e-3})),
        at: Timestamp::from_nanos(1_764_043_557_000_000_999),
    }
}

async fn stamp_one(desk: &Desk, order: Order) -> Stamped {
    desk.stamp(vec![order]).await.unwrap().remove(0).unwrap()
}

fn server(record: &mut Record) -> Address {
    record.database.login("stampd_server")
}

#[tokio::test]
async fn a_stamp_rests_as_a_row_an_event_and_a_piece_of_the_outbox() {
    let mut record = Record::create().await;
    let desk = desk(&server(&mut record));
    let stamped = stamp_one(&desk, order("a")).await;
    assert!(stamped.fresh && stamped.event.is_some());
    let held = desk.find(&order("a").digest, None, None).await.unwrap();
    assert_eq!(
        held,
        std::slice::from_ref(&*stamped.row),
        "the first reply is what is held, to the last digit"
    );
    assert_eq!(stamped.row.id, order("a").stamp_id());
    assert_eq!(stamped.row.stamp_data["metadata"], json!({"ratio": 0.5, "who": "ö\u{1}\""}));

    let admin = record.database.admin().connect().await;
    let row = admin
        .query_one(
            "SELECT e.body, e.leaf, o.first_seq, o.next_seq, o.shard::int,
                get_byte(uuid_send(e.stream_id), 15) & 15
            FROM stamp_events e JOIN outbox o USING (stream_id) WHERE seq = 1 AND o.id = $1",
            &[&stamped.event],
        )
        .await
        .unwrap();
    // The body that is held for queries is the one that was hashed, keys in another order.
    let sealed = body::read(&row.get::<_, Value>(0).to_string()).unwrap();
    assert_eq!(sealed.leaf.as_bytes().as_slice(), row.get::<_, &[u8]>(1));
    assert_eq!(sealed.stamp.kind, Kind::Api);
    assert_eq!(
        Row::told_by(&sealed.stamp).as_ref(),
        Some(&*stamped.row),
        "SQL and Rust tell the same row"
    );
    assert_eq!((row.get::<_, i64>(2), row.get::<_, i64>(3)), (1, 2));
    assert_eq!(row.get::<_, i32>(4), row.get::<_, i32>(5));
}

#[tokio::test]
async fn orders_with_little_in_them_get_the_same_rows_from_sql_and_rust() {
    let mut record = Record::create().await;
    let desk = desk(&server(&mut record));
    let bare = Order {
        digest_of: DigestOf::Claimed,
        content_hash: None,
        path: None,
        size: None,
        content_type: None,
        op_id: None,
        correlation_id: None,
        stamp: None,
        stamp_type: None,
        metadata: Map::new(),
        stamp_data: Map::new(),
        intelligence: Map::new(),
        ..order("bare")
    };
    let stamped = stamp_one(&desk, bare.clone()).await;
    assert_eq!(
        desk.find(&bare.digest, None, None).await.unwrap(),
        std::slice::from_ref(&*stamped.row)
    );
    let empty_path = Order { path: Some(String::new()), ..bare };
    let again = stamp_one(&desk, empty_path).await;
    assert_eq!((again.row, again.fresh), (stamped.row, false));
}

#[tokio::test]
async fn a_hundred_at_once_make_one_row_and_one_event() {
    let mut record = Record::create().await;
    let server = server(&mut record);
    let two_writers = |config: &mut Config| config.writers = 2;
    let desks = [desk_with(&server, two_writers), desk_with(&server, two_writers)];
    let mut tasks = JoinSet::new();
    for lane in 0..100_i64 {
        let desk = desks[lane as usize % 2].clone();
        // Each asks at another time with another request: the first one's words stay.
        let at = Timestamp::from_nanos(lane * 1_000_000);
        let request = Some(format!("request-{lane}"));
        let order = Order { at, correlation_id: request, ..order("same") };
        tasks.spawn(async move { stamp_one(&desk, order).await });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|stamped| stamped.fresh).count(), 1);
    assert!(answers.iter().all(|stamped| stamped.row == answers[0].row), "all got the same row");
    assert_eq!(record.count("SELECT count(*) FROM metadata_stamps").await, 1);
    assert_eq!(record.count("SELECT count(*) FROM stamp_events WHERE kind = 'api'").await, 1);
    // A writer that came too late for any of them may not have opened its stream yet.
    let published = "SELECT (SELECT sum(next_seq - first_seq) FROM outbox)::bigint
        - (SELECT count(*) FROM stamp_events WHERE kind = 'opened')";
    assert_eq!(record.count(published).await, 1, "one event beside those of the streams");
}

#[tokio::test]
async fn a_repeat_gets_the_first_row_and_makes_no_event() {
    let mut record = Record::create().await;
    let server = server(&mut record);
    let first = stamp_one(&desk(&server), order("a")).await;
    let other_words = Order {
        stamp: Some("another text".into()),
        version: 9,
        correlation_id: Some("request-2".into()),
        at: Timestamp::from_nanos(7),
        ..order("a")
    };
    // Another process, later.
    let second = stamp_one(&desk(&server), other_words).await;
    assert_eq!((second.row, second.fresh, second.event), (first.row, false, None));
    assert_eq!(record.count("SELECT count(*) FROM stamp_events WHERE kind = 'api'").await, 1);
}

#[tokio::test]
async fn a_batch_of_old_new_double_and_bad_orders_is_answered_one_by_one() {
    let mut record = Record::create().await;
    let desk = desk(&server(&mut record));
    stamp_one(&desk, order("old")).await;
    let bad = Order { protocol_version: "longer than its column".into(), ..order("bad") };
    let orders = vec![order("a"), order("old"), bad, order("b"), order("a"), order("c")];
    let answers = desk.stamp(orders).await.unwrap();
    let fresh: Vec<Option<bool>> =
        answers.iter().map(|answer| answer.as_ref().ok().map(|stamped| stamped.fresh)).collect();
    assert_eq!(fresh, [Some(true), Some(false), None, Some(true), Some(false), Some(true)]);
    let refused = answers[2].as_ref().unwrap_err();
    assert_eq!(refused.code, "22001");
    assert_eq!(record.count("SELECT count(*) FROM metadata_stamps").await, 4);
    assert_eq!(record.count("SELECT max(seq) FROM stamp_events").await, 4, "no seq is skipped");
}

#[tokio::test]
async fn a_large_batch_is_answered_in_its_order_whoever_serves_its_parts() {
    let mut record = Record::create().await;
    let desk = desk_with(&server(&mut record), |config| config.writers = 2);
    // The second half is the first one again, in jobs of its own.
    let contents: Vec<String> = (0..600).map(|n| format!("item {}", n % 300)).collect();
    let answers = desk.stamp(contents.iter().map(|content| order(content)).collect()).await;
    let answers: Vec<Stamped> = answers.unwrap().into_iter().map(Result::unwrap).collect();
    let asked = contents.iter().map(|content| order(content).stamp_id());
    assert!(answers.iter().map(|stamped| stamped.row.id).eq(asked), "each got its own");
    assert_eq!(answers.iter().filter(|stamped| stamped.fresh).count(), 300);
    assert_eq!(record.count("SELECT count(*) FROM metadata_stamps").await, 300);
}

#[tokio::test]
async fn a_row_of_another_program_answers_under_its_own_id() {
    let mut record = Record::create().await;
    let desk = desk(&server(&mut record));
    for (content, path) in [("with", "'/srv/with.md'"), ("without", "NULL")] {
        record.database.batch(&format!(
            "INSERT INTO metadata_stamps (id, file_hash, file_path, namespace)
            VALUES (gen_random_uuid(), '{}', {path}, 'projecta.services.metadata')",
            order(content).digest
        ));
    }
    for (content, path) in [("with", Some("/srv/with.md".to_owned())), ("without", None)] {
        let stamped = stamp_one(&desk, Order { path, ..order(content) }).await;
        assert!(!stamped.fresh);
        assert_ne!(stamped.row.id, order(content).stamp_id());
    }
    assert_eq!(record.count("SELECT count(*) FROM metadata_stamps").await, 2);
}

#[tokio::test]
async fn pages_and_finds_show_the_newest_first() {
    let mut record = Record::create().await;
    let desk = desk(&server(&mut record));
    for content in ["a", "b", "c"] {
        stamp_one(&desk, order(content)).await;
    }
    let elsewhere = Order { path: Some("/other".into()), ..order("c") };
    stamp_one(&desk, elsewhere.clone()).await;
    let namespace = "projecta.services.metadata";
    let (total, rows) = desk.page(namespace, 2, 1).await.unwrap();
    let paths: Vec<_> = rows.iter().filter_map(|row| row.file_path.as_deref()).collect();
    assert_eq!((total, paths), (4, vec!["/srv/c.md", "/srv/b.md"]));
    assert_eq!(desk.page(namespace, 2, u64::MAX).await.unwrap(), (4, vec![]));
    assert_eq!(desk.page("default", 2, 0).await.unwrap(), (0, vec![]));
    let digest = elsewhere.digest;
    let found = desk.find(&digest, Some(namespace), None).await.unwrap();
    assert_eq!((found.len(), found[0].file_path.as_deref()), (2, Some("/other")));
    assert_eq!(desk.find(&digest, None, Some("/srv/c.md")).await.unwrap().len(), 1);
    assert_eq!(desk.find(&digest, Some("default"), None).await.unwrap(), []);
}

/// Asks as a client would, until it is told yes.
async fn insist(desk: &Desk, content: &str) -> Stamped {
    loop {
        if let Ok(mut answers) = desk.stamp(vec![order(content)]).await {
            return answers.remove(0).unwrap();
        }
        yield_now().await;
    }
}

/// What was acknowledged, by many callers, while `disturb` is at work.
async fn under_load(desk: &Desk, disturb: impl Future<Output = ()>) -> BTreeMap<String, Stamped> {
    let mut tasks = JoinSet::new();
    for lane in 0..8 {
        let desk = desk.clone();
        tasks.spawn(async move {
            let mut acknowledged = BTreeMap::new();
            for round in 0..40 {
                let content = format!("{lane}-{round}");
                let stamped = timeout(DEADLINE, insist(&desk, &content)).await.unwrap();
                acknowledged.insert(content, stamped);
            }
            acknowledged
        });
    }
    disturb.await;
    tasks.join_all().await.into_iter().flatten().collect()
}

async fn connected_again(proxy: &Proxy, before: u64) {
    let more = async || (proxy.accepted() > before).then_some(());
    wait_for_async("it is connected again", more).await;
}

/// Demands that every acknowledged stamp is there once, as it was said, and nothing else.
async fn all_there_once(record: &Record, desk: &Desk, acknowledged: &BTreeMap<String, Stamped>) {
    assert_eq!(acknowledged.len(), 320);
    for (content, stamped) in acknowledged {
        let held = desk.find(&order(content).digest, None, None).await.unwrap();
        assert_eq!(held, std::slice::from_ref(&*stamped.row), "{content}");
    }
    let events = "SELECT count(*) FROM stamp_events WHERE kind = 'api'";
    assert_eq!(record.count(events).await, 320);
    assert_eq!(record.count("SELECT count(DISTINCT digest) FROM stamp_events").await, 320);
    let published = "SELECT sum(next_seq - first_seq)::bigint FROM outbox";
    let stamps = record.count("SELECT count(*) FROM stamp_events").await;
    assert_eq!(record.count(published).await, stamps, "each has its event, and each stream too");
    let holes = "SELECT count(*) FROM streams s WHERE size <>
        (SELECT count(*) FROM stamp_events e WHERE e.stream_id = s.stream_id)";
    assert_eq!(record.count(holes).await, 0);
}

#[tokio::test]
async fn backends_that_are_terminated_lose_and_double_nothing() {
    let mut record = Record::create().await;
    let server = server(&mut record);
    let desk = desk(&server);
    let kill = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{}'",
        server.user
    );
    let acknowledged = under_load(&desk, async {
        for _ in 0..10 {
            record.count(&kill).await;
        }
    })
    .await;
    all_there_once(&record, &desk, &acknowledged).await;
}

#[tokio::test]
async fn connections_that_are_cut_lose_and_double_nothing() {
    let mut record = Record::create().await;
    let server = server(&mut record);
    let proxy = Proxy::to(format!("{}:{}", server.host, server.port).parse().unwrap(), Road::Open);
    let proxy = proxy.await;
    let desk = desk(&Address { port: proxy.address().port(), ..server });
    let acknowledged = under_load(&desk, async {
        for _ in 0..5 {
            let before = proxy.accepted();
            proxy.set(Road::Cut);
            record.count("SELECT count(*) FROM stamp_events").await;
            proxy.set(Road::Open);
            connected_again(&proxy, before).await;
        }
    })
    .await;
    all_there_once(&record, &desk, &acknowledged).await;
}

#[tokio::test]
async fn away_is_said_within_a_second_and_back_is_noticed() {
    let mut record = Record::create().await;
    let server = server(&mut record);
    let proxy = Proxy::to(format!("{}:{}", server.host, server.port).parse().unwrap(), Road::Cut);
    let proxy = proxy.await;
    let desk = desk(&Address { port: proxy.address().port(), ..server });
    for road in [Road::Cut, Road::BlackHole] {
        proxy.set(road);
        for content in ["a", "b", "c"] {
            let asked = Instant::now();
            let error = desk.stamp(vec![order(content)]).await.unwrap_err();
            assert!(matches!(error.class(), Class::Retry | Class::RetrySmaller), "{error}");
            // It aims at less than one second; what is told apart here is waiting for `patience`.
            assert!(asked.elapsed() < Duration::from_secs(4), "{road:?}: {:?}", asked.elapsed());
            assert!(desk.ping().await.is_err());
        }
    }
    proxy.set(Road::Open);
    let stamped = wait_for_async("it is back", async || {
        desk.stamp(vec![order("a")]).await.ok().map(|mut answers| answers.remove(0).unwrap())
    });
    assert!(stamped.await.fresh);
    desk.ping().await.unwrap();
}

#[tokio::test]
async fn over_a_slow_road_callers_are_refused_in_time_and_it_comes_through_in_the_end() {
    let mut record = Record::create().await;
    let server = server(&mut record);
    // The handshakes alone take three times there and back, longer than any caller waits for.
    let slow = Road::Slow(Duration::from_millis(150));
    let proxy = Proxy::to(format!("{}:{}", server.host, server.port).parse().unwrap(), slow).await;
    let desk = desk(&Address { port: proxy.address().port(), ..server });
    let error = desk.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Timeout(_)), "{error}");
    wait_for_async("there is a session for reading", async || desk.ping().await.ok()).await;
    wait_for_async("it is stamped", async || desk.stamp(vec![order("a")]).await.ok()).await;
}

#[tokio::test]
async fn streams_name_the_ones_before_them_after_a_loss() {
    // Something else under our seq, as a statement that comes late would leave it.
    after_something_else_at(2, "UPDATE streams SET size = 3", 3).await;
}

#[tokio::test]
async fn a_stream_with_something_beyond_its_end_is_left() {
    // As when the adapter brings what a database that was restored has lost.
    after_something_else_at(2, "", 2).await;
    after_something_else_at(3, "", 2).await;
}

/// A stamp goes through although its stream holds something else at `seq`; the stream that was left
/// is told to be of this size.
async fn after_something_else_at(seq: u64, and: &str, size: u64) {
    let mut record = Record::create().await;
    let server = server(&mut record);
    let desk = desk(&server);
    stamp_one(&desk, order("a")).await;
    record.database.batch(&format!(
        "INSERT INTO stamp_events SELECT stream_id, {seq}, '\\x00', kind, namespace, repo, path,
            from_path, digest, prev, size, mode, mtime, seen, stamped, body
        FROM stamp_events WHERE seq = 1;
        {and}"
    ));
    let both = desk.stamp(vec![order("b"), order("c")]).await.unwrap();
    assert!(both.into_iter().all(|stamped| stamped.unwrap().fresh));
    let named = format!(
        "SELECT count(*) FROM stamp_events e JOIN streams s
        ON s.stream_id = (e.body->'previous'->>'stream')::uuid
        WHERE e.kind = 'opened' AND e.body->'previous'->>'size' = '{size}'"
    );
    assert_eq!(record.count(&named).await, 1);
    let ids = record.count("SELECT count(DISTINCT stream_id) FROM stamp_events").await;
    assert_eq!(ids, 2);
    assert_eq!(record.count("SELECT count(*) FROM metadata_stamps").await, 3);
}

#[tokio::test]
async fn no_agent_may_stamp_as_a_server_does() {
    let record = Record::create().await;
    let desk = desk(&record.agent);
    let error = desk.stamp(vec![order("a")]).await.unwrap_err();
    assert_eq!(error.class(), Class::Park, "{error}");
    assert_eq!(record.count("SELECT count(*) FROM metadata_stamps").await, 0);
}
