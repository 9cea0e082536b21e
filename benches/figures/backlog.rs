//! A backlog on Kafka, drained by whole adapters: in how much memory, and by two of them beside one.

use std::time::Instant;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use stampd::adapter::route::Slug;

use crate::by_hand::Session;
use crate::intake::{migrated, of_any_slug};
use crate::measure::{Pairs, Table};
use crate::support::kafka::{Topic, plaintext};
use crate::support::postgres::Database;
use crate::support::process::{Agent, Home};
use crate::support::random_name;
use crate::support::wait::{DEADLINE, wait_within};

/// Records of the long backlog.
const LONG: u64 = 1_000_000;

/// Records of those that one and two adapters drain.
const SHARED: u64 = 150_000;

const ROUNDS: usize = 3;

/// Minutes for a million, on a machine that is not fast.
const PATIENCE_FACTOR: u32 = 10;

/// A backlog, and what leads adapters from it to a database.
struct Backlog {
    home: Home,
    session: Session,
    _database: Database,
    _topics: Vec<Topic>,
}

/// P10: a million events drained, and how much more two adapters do.
pub fn drain(table: &mut Table) {
    let backlog = Backlog::of(LONG);
    let start = Instant::now();
    let adapter = backlog.start("one");
    backlog.wait_read(LONG / 10);
    let early = adapter.memory_kib("VmHWM") / 1024;
    backlog.wait_read(LONG);
    let rate = LONG as f64 / start.elapsed().as_secs_f64();
    let peak = adapter.memory_kib("VmHWM") / 1024;
    assert!(adapter.terminate().success());
    let detail = format!("{early} MiB after a tenth, {:.1} k/s", rate / 1000.0);
    table.add("P10", "1,000,000 events drained, peak RSS", format!("{peak} MiB"), detail, "flat");
    drop(backlog);

    let mut pairs = Pairs::default();
    for _ in 0..ROUNDS {
        let rate = |names: &[&str]| Backlog::of(SHARED).rate(names);
        pairs.push(rate(&["one", "two"]), rate(&["one"]));
    }
    table.add_pair("P10", "two adapters on two partitions : one, rate", &pairs, "told");
}

impl Backlog {
    /// Events of every slug in turn, on topics with two partitions.
    fn of(records: u64) -> Self {
        let mut database = Database::create();
        migrated(&database.admin());
        let login = database.login("stampd_server");
        let environment = random_name("bench");
        let name =
            |slug: Slug| format!("{environment}.omninode_bridge.onex.evt.{}.v1", slug.as_str());
        let topics = (0..7).map(|n| Topic::named(&name(of_any_slug(n).0), 2, plaintext()));
        let topics = topics.collect();
        fill(records, name);
        let mut home = Home::new();
        home.set("SERVER_PASSWORD", &login.password);
        home.configure(&format!(
            "[kafka]\nbrokers = [{:?}]\ntopic = {:?}\n[postgres]\nurl = {:?}\n\
             password = {{ env = \"SERVER_PASSWORD\" }}\n\
             [adapter]\nlisten = \"127.0.0.1:0\"\ngroup = {environment:?}\n",
            crate::support::bed("STAMPD_TEST_KAFKA"),
            format!("{environment}.omninode_bridge.onex.evt.metadata-stamp-created.v1"),
            login.url_without_tls(),
        ));
        let session = Session::open(&database.admin());
        session.run("CHECKPOINT");
        Self { home, session, _database: database, _topics: topics }
    }

    fn start(&self, name: &str) -> Agent {
        let mut adapter = self.home.start_role(&["adapter"], name);
        adapter.wait_ready();
        adapter
    }

    fn wait_read(&self, records: u64) {
        let sql = "SELECT coalesce(sum(next_offset), 0)::bigint FROM adapter_offsets";
        wait_within(DEADLINE * PATIENCE_FACTOR, "the backlog is read", || {
            (self.session.number(sql) >= records).then_some(())
        });
    }

    /// Records per second of these adapters together, once each has had the time to join the group.
    fn rate(self, names: &[&str]) -> f64 {
        let adapters: Vec<Agent> = names.iter().map(|name| self.start(name)).collect();
        self.wait_read(SHARED / 3);
        let (start, read) = (Instant::now(), SHARED / 3);
        self.wait_read(SHARED);
        let rate = (SHARED - read) as f64 / start.elapsed().as_secs_f64();
        for adapter in adapters {
            assert!(adapter.terminate().success());
        }
        rate
    }
}

/// Puts the records onto their topics, from one partition to the other.
fn fill(records: u64, topic: impl Fn(Slug) -> String) {
    let mut settings = plaintext();
    settings.set("linger.ms", "50").set("compression.type", "zstd");
    let producer: BaseProducer = settings.create().expect("a producer starts");
    for n in 0..records {
        let (slug, value) = of_any_slug(n);
        let topic = topic(slug);
        let partition = i32::from(n / 7 % 2 == 1);
        let mut record = BaseRecord::<(), [u8]>::to(&topic).partition(partition).payload(&value);
        while let Err((_, unsent)) = producer.send(record) {
            producer.poll(std::time::Duration::from_millis(10));
            record = unsent;
        }
    }
    producer.flush(DEADLINE).expect("the broker confirms what was sent");
}
