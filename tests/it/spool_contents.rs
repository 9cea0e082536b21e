//! Contents stamped through the API, in the spool: once each, durable when acknowledged, and kept.

use std::time::Duration;

use serde_json::{Map, json};
use stampd::model::batch::Entry;
use stampd::model::content::{DigestOf, Order, Row, Stamped};
use stampd::model::digest::Digest;
use stampd::model::stamp::Kind;
use stampd::runtime::clock::Clock;
use stampd::spool::{self, Config, Contents, SpoolError};

use crate::spool::{NOON, Running, config, file, seed};
use crate::support::block_on;

/// An order for a content at a path.
pub fn order(content: &str, path: Option<&str>) -> Order {
    Order {
        namespace: "a.b.c".parse().unwrap(),
        digest: Digest::of(content.as_bytes()),
        digest_of: DigestOf::OnexText,
        content_hash: Some(Digest::of(format!("{content}\n").as_bytes())),
        path: path.map(str::to_owned),
        size: Some(content.len() as u64),
        content_type: Some("text/plain".into()),
        protocol_version: "1.0".into(),
        metadata_version: "0.1".into(),
        version: 1,
        op_id: None,
        correlation_id: Some("request".into()),
        stamp: Some(format!("# stamp of {content}")),
        stamp_type: Some("lightweight".into()),
        metadata: Map::from_iter([("ratio".to_owned(), json!(0.5))]),
        stamp_data: Map::new(),
        intelligence: Map::new(),
        at: NOON,
    }
}

fn stamp_one(contents: &Contents, order: Order) -> Stamped {
    block_on(|| contents.stamp(vec![order])).unwrap().remove(0)
}

fn find(contents: &Contents, content: &str) -> Vec<Row> {
    let digest = Digest::of(content.as_bytes());
    block_on(|| contents.find(&digest, None, None)).unwrap()
}

#[test]
fn a_repeat_gets_the_first_ones_row_also_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::mock(NOON);
    let running = Running::open(&config(dir.path()), &seed(), &clock);
    let contents = running.spool.contents().unwrap();
    let first = stamp_one(&contents, order("x", Some("x.txt")));
    assert!(first.fresh);
    clock.advance(Duration::from_secs(1));
    let repeat = Order { version: 7, stamp: None, ..order("x", Some("x.txt")) };
    let again = block_on(|| contents.stamp(vec![repeat.clone(), repeat.clone()])).unwrap();
    assert!(again.iter().all(|stamped| !stamped.fresh && stamped.row == first.row));
    drop(contents);
    running.stop();
    let running = Running::open(&config(dir.path()), &seed(), &clock);
    let contents = running.spool.contents().unwrap();
    assert_eq!(stamp_one(&contents, repeat).row, first.row);
    assert_eq!(find(&contents, "x"), std::slice::from_ref(&*first.row));
    drop(contents);
    running.stop();
}

#[test]
fn a_content_twice_in_one_batch_is_stamped_once() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let contents = running.spool.contents().unwrap();
    let batch = ["x", "y", "x"].map(|content| order(content, None)).to_vec();
    let stamped = block_on(|| contents.stamp(batch)).unwrap();
    assert_eq!(stamped.iter().map(|one| one.fresh).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(stamped[0].row, stamped[2].row);
    drop(contents);
    running.stop();
}

#[test]
fn a_hundred_identical_orders_at_once_are_one_stamp() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let contents = running.spool.contents().unwrap();
    let stamped: Vec<Stamped> = std::thread::scope(|scope| {
        let ask = || stamp_one(&contents, order("x", None));
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(stamped.iter().filter(|one| one.fresh).count(), 1);
    assert!(stamped.iter().all(|one| one.row == stamped[0].row));
    let totals = running.spool.reader().unwrap().contents().unwrap().unwrap();
    assert_eq!(totals.contents, 1);
    drop(contents);
    running.stop();
}

#[test]
fn a_content_is_found_by_namespace_and_path_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::mock(NOON);
    let running = Running::open(&config(dir.path()), &seed(), &clock);
    let contents = running.spool.contents().unwrap();
    for path in [None, Some("a"), Some("/b")] {
        clock.advance(Duration::from_secs(1));
        stamp_one(&contents, order("x", path));
    }
    let elsewhere = Order { namespace: "a.b.d".parse().unwrap(), ..order("x", Some("a")) };
    stamp_one(&contents, elsewhere);
    let digest = Digest::of(b"x");
    let paths = |namespace: Option<&str>, path: Option<&str>| -> Vec<Option<String>> {
        let rows = block_on(|| contents.find(&digest, namespace, path)).unwrap();
        rows.into_iter().map(|row| row.file_path).collect()
    };
    let of = |path: &str| Some(path.to_owned());
    assert_eq!(paths(Some("a.b.c"), None), [of("/b"), of("a"), None]);
    assert_eq!(paths(None, Some("a")), [of("a"), of("a")]);
    assert_eq!(paths(Some("a.b.d"), Some("a")), [of("a")]);
    assert!(paths(Some("default"), None).is_empty());
    drop(contents);
    running.stop();
}

#[test]
fn a_namespace_is_listed_by_pages_that_miss_and_repeat_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let contents = running.spool.contents().unwrap();
    let orders = (0..25).map(|n| order(&n.to_string(), None)).collect();
    let stamped = block_on(|| contents.stamp(orders)).unwrap();
    let mut newest_first: Vec<Row> = stamped.iter().map(|one| Row::clone(&one.row)).collect();
    newest_first.reverse();
    let mut listed = Vec::new();
    for offset in (0..30).step_by(10) {
        let (total, page) = block_on(|| contents.page("a.b.c", 10, offset)).unwrap();
        assert_eq!(total, 25);
        listed.extend(page);
    }
    assert_eq!(listed, newest_first);
    assert_eq!(block_on(|| contents.page("a.b.c", 10, u64::MAX)).unwrap(), (25, Vec::new()));
    assert_eq!(block_on(|| contents.page("x.y.z", 10, 0)).unwrap(), (0, Vec::new()));
    drop(contents);
    running.stop();
}

#[test]
fn the_api_stream_is_delivered_like_any_other_and_is_no_repo() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let repo = running.repo();
    repo.append(vec![file("a", 1, 0)]).wait().unwrap();
    let contents = running.spool.contents().unwrap();
    let row = stamp_one(&contents, order("x", Some("x.txt"))).row;
    let reader = running.spool.reader().unwrap();
    let names: Vec<String> = reader.repos().unwrap().into_iter().map(|repo| repo.name).collect();
    assert_eq!(names, ["app"]);
    let own = reader.contents().unwrap().unwrap().repo;
    let head = reader.streams().unwrap().into_iter().find(|head| head.repo == own).unwrap();
    assert_eq!((head.epoch, head.size), (0, 2));
    let batch = reader.batch(head.stream, 0, 10, 1 << 20).unwrap();
    let [Entry::Stamp(opened), Entry::Stamp(stamp)] = batch.entries.as_slice() else {
        panic!("two stamps")
    };
    assert_eq!((opened.stamp.kind, opened.stamp.context.repo.clone()), (Kind::Opened, None));
    assert_eq!(Row::told_by(&stamp.stamp).as_ref(), Some(&*row));
    assert_eq!(reader.queued("kafka").unwrap(), 4);
    running.spool.confirm("kafka", head.stream, 2).wait().unwrap();
    assert_eq!(reader.queued("kafka").unwrap(), 2);
    assert_eq!(reader.by_digest(&Digest::of(b"x")).unwrap().len(), 1);
    drop((reader, contents, repo));
    running.stop();
}

#[test]
fn without_the_api_there_is_no_api_stream() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let repo = running.repo();
    let reader = running.spool.reader().unwrap();
    assert_eq!(reader.contents().unwrap(), None);
    assert_eq!(reader.streams().unwrap().len(), 1);
    drop((reader, repo));
    running.stop();
}

#[test]
fn no_body_of_a_content_is_ever_purged() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::mock(NOON);
    let running = Running::open(&config(dir.path()), &seed(), &clock);
    let contents = running.spool.contents().unwrap();
    let first = stamp_one(&contents, order("x", None));
    let stream = running.spool.reader().unwrap().streams().unwrap()[0].stream;
    running.spool.confirm("kafka", stream, 2).wait().unwrap();
    clock.advance(Duration::from_hours(1_000 * 24));
    assert_eq!(running.spool.purge(clock.now()).wait().unwrap().bodies, 1, "of opened");
    assert_eq!(find(&contents, "x"), std::slice::from_ref(&*first.row));
    assert_eq!(stamp_one(&contents, order("x", None)).row, first.row);
    drop(contents);
    running.stop();
}

#[test]
fn a_full_spool_takes_no_content_and_still_tells_those_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_bytes: 300_000, ..config(dir.path()) };
    let running = Running::open(&config, &seed(), &Clock::mock(NOON));
    let contents = running.spool.contents().unwrap();
    let batch = |n: usize| (0..100).map(|m| order(&format!("{n} {m}"), None)).collect();
    let stamp = |n| block_on(|| contents.stamp(batch(n))).err();
    let (taken, refused) = (0..20).find_map(|n| stamp(n).map(|error| (n, error))).unwrap();
    assert!(matches!(refused, SpoolError::Full { .. }), "{refused}");
    let (total, _) = block_on(|| contents.page("a.b.c", 1, 0)).unwrap();
    assert_eq!(total, taken as u64 * 100);
    assert_eq!(find(&contents, "0 0").len(), 1);
    assert!(block_on(|| contents.ping()).is_ok());
    drop(contents);
    running.stop();
}

#[test]
fn a_content_follows_its_stamp_to_the_next_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let contents = running.spool.contents().unwrap();
    let rows =
        ["x", "y"].map(|content| Row::clone(&stamp_one(&contents, order(content, None)).row));
    let old = running.spool.reader().unwrap().streams().unwrap()[0].stream;
    let new = running.spool.new_epoch(old, 2).wait().unwrap();
    assert_eq!(find(&contents, "x"), rows[..1]);
    assert_eq!(find(&contents, "y"), rows[1..]);
    assert!(!stamp_one(&contents, order("y", None)).fresh);
    stamp_one(&contents, order("z", None));
    let reader = running.spool.reader().unwrap();
    let sizes: Vec<u64> = reader.streams().unwrap().iter().map(|head| head.size).collect();
    assert_eq!(sizes, [2, 3], "opened, y again, and z");
    assert_eq!(reader.by_digest(&Digest::of(b"y")).unwrap()[0].stamp.stream, new);
    drop((reader, contents));
    running.stop();
}

#[test]
fn a_spool_of_the_version_before_is_brought_up_to_date_by_its_agent_alone() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path());
    let repo = running.repo();
    repo.append(vec![file("a", 1, 0)]).wait().unwrap();
    drop(repo);
    running.stop();
    let state_dir = config(dir.path()).state_dir;
    let raw = rusqlite::Connection::open(state_dir.join("spool.db")).unwrap();
    raw.execute_batch("DROP TABLE content; PRAGMA user_version = 1;").unwrap();
    drop(raw);
    let reading = spool::open_read_only(&state_dir).err().unwrap();
    assert!(matches!(reading, SpoolError::Older { found: 1, .. }), "{reading}");
    assert!(reading.to_string().contains("stampd run"));
    let running = Running::start(dir.path());
    let contents = running.spool.contents().unwrap();
    assert!(stamp_one(&contents, order("x", None)).fresh);
    assert_eq!(running.spool.reader().unwrap().totals().unwrap().stamps, 4);
    drop(contents);
    running.stop();
}
