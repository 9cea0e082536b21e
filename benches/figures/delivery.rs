//! From the spool to the servers: what the agent confirms per second, beside the same rows and
//! records written by hand to the same servers; and by way of a bridge beside the direct road.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::by_hand::{Rows, Session};
use crate::corpus::Corpus;
use crate::local::{end, home_over, start};
use crate::measure::{Pairs, Table, alternate};
use crate::stamping::Bridge;
use crate::support::kafka::{Record, Topic, plaintext};
use crate::support::postgres::{Address, Database};
use crate::support::process::Home;
use crate::support::wait::wait_for;

/// Stamps of one delivery of the agent's.
const BATCH: i64 = 5_000;

/// Rounds of a pair that takes a quarter of a minute.
const ROUNDS: usize = 5;

/// A home whose spool holds the corpus, undelivered. What it watches from then on is an empty
/// directory, so that no comparison with the disk runs beside the delivery.
struct Filled {
    home: Home,
    empty: tempfile::TempDir,
    stamps: u64,
}

impl Filled {
    fn new(corpus: &Corpus) -> Self {
        let home = home_over(&corpus.root);
        end(start(&home).0);
        let empty = tempfile::tempdir().expect("a scratch directory");
        Self { home, empty, stamps: corpus.files as u64 }
    }

    /// A record that the agent may append to, for as long as the database is kept.
    fn with_postgres(&self) -> (Database, Session) {
        let mut database = Database::create();
        let session = Session::open(&database.admin());
        self.configure_postgres(&database.admin());
        self.home.must(&["migrate"]);
        self.configure_postgres(&database.login("stampd_agent"));
        (database, session)
    }

    fn configure(&self, sink: &str) {
        self.home.configure(&format!(
            "[[repo]]\npath = \"{}\"\nnamespace = \"bench.figures.empty\"\n\n{sink}",
            self.empty.path().display()
        ));
    }

    fn configure_postgres(&self, address: &Address) {
        let password = self.secret("password", &address.password);
        self.configure(&format!(
            "[postgres]\nurl = \"{}\"\npassword = {{ file = \"{password}\" }}\n",
            address.url_without_password()
        ));
    }

    fn configure_bridge(&self, bridge: &Bridge) {
        let token = self.secret("token", &bridge.token("bench"));
        self.configure(&format!(
            "[bridge]\nurl = \"http://{}\"\ntoken = {{ file = \"{token}\" }}\n",
            bridge.listen
        ));
    }

    /// Keeps a secret in a file of its own, and says where.
    fn secret(&self, name: &str, words: &str) -> String {
        let file = self.home.path().join(name);
        fs::write(&file, words).expect("the home takes a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
        file.display().to_string()
    }

    /// Runs an agent until `count` has come from nothing to at least the corpus. Returns the rate
    /// between the first sight of something and the last, so that start and probe are not in it.
    fn drain(&self, mut count: impl FnMut() -> u64) -> f64 {
        let (agent, _) = start(&self.home);
        let (first, begin) = wait_for("the first batch", || {
            let seen = count();
            (seen > 0).then(|| (seen, Instant::now()))
        });
        let (last, finish) = wait_for("the last batch", || {
            let seen = count();
            (seen >= self.stamps).then(|| (seen, Instant::now()))
        });
        self.home.must(&["sync", "--wait", "--timeout", "60s"]);
        end(agent);
        (last - first) as f64 / (finish - begin).as_secs_f64()
    }
}

/// P7: rows confirmed by PostgreSQL per second.
///
/// A replay has no rate to tell: a receiver that holds the rows answers the first batch with its
/// whole size, and the cursor follows.
pub fn postgres(corpus: &Corpus, table: &mut Table) {
    let mut pairs = Pairs::default();
    let mut better = "";
    for round in 0..ROUNDS {
        let filled = Filled::new(corpus);
        let (_database, session) = filled.with_postgres();
        let ours = filled.drain(|| session.size());
        let rows = Rows::read(&session, BATCH);
        let (by_hand, way) = rows.by_the_better(&session, round);
        better = way;
        pairs.push(ours, by_hand);
        drop(session);
    }
    let what = format!("spool → Postgres : the same rows by hand ({better}), rate");
    table.add_pair("P7", &what, &pairs, "≥0.7");
}

/// P9: what a bridge confirms of the same spool per second, beside the direct road to PostgreSQL.
///
/// Both records are as new, and neither has events to publish. The agent keeps a cursor for each
/// sink, so one spool is a backlog to both.
pub fn ingest(corpus: &Corpus, table: &mut Table) {
    let mut pairs = Pairs::default();
    for round in 0..ROUNDS {
        let filled = Filled::new(corpus);
        let by_bridge = || {
            let bridge = Bridge::start("");
            let session = Session::open(&bridge.database.admin());
            filled.configure_bridge(&bridge);
            // The bridge has streams of its own.
            let brought =
                "SELECT coalesce(sum(size), 0)::bigint FROM streams WHERE token = 'bench'";
            filled.drain(|| session.number(brought))
        };
        let directly = || {
            let (_database, session) = filled.with_postgres();
            filled.drain(|| session.size())
        };
        let (ours, peer) = alternate(round, by_bridge, directly);
        pairs.push(ours, peer);
    }
    table.add_pair("P9", "spool → bridge → Postgres : spool → Postgres, rate", &pairs, "≥0.7");
}

/// P8: records confirmed by Kafka per second.
pub fn kafka(corpus: &Corpus, table: &mut Table) {
    let mut pairs = Pairs::default();
    for _ in 0..ROUNDS {
        let filled = Filled::new(corpus);
        let topic = Topic::create(1);
        let brokers = crate::support::bed("STAMPD_TEST_KAFKA");
        filled.configure(&format!(
            "[kafka]\nbrokers = [\"{brokers}\"]\ntopic = \"{}\"\nsecurity = \"plaintext\"\n",
            topic.name()
        ));
        let consumer: BaseConsumer = plaintext().create().expect("a consumer starts");
        let ours = filled.drain(|| {
            let marks = consumer.fetch_watermarks(topic.name(), 0, Duration::from_secs(10));
            u64::try_from(marks.expect("the broker answers").1).expect("an offset is not negative")
        });
        let bare = bare_loop(&topic.read_to_end());
        pairs.push(ours, bare);
    }
    table.add_pair("P8", "spool → Kafka : bare idempotent rdkafka loop, rate", &pairs, "≥0.8");
}

/// Sends the same records to a topic of its own, as fast as the client takes them.
fn bare_loop(records: &[Record]) -> f64 {
    let topic = Topic::create(1);
    let producer: BaseProducer =
        plaintext().set("enable.idempotence", "true").create().expect("a producer starts");
    let start = Instant::now();
    for record in records {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut next = BaseRecord::to(topic.name()).key(&record.key).payload(&record.value);
        next = next.headers(headers);
        while let Err((error, back)) = producer.send(next) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, full, "the broker takes records");
            producer.poll(Duration::from_millis(1));
            next = back;
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_mins(1)).expect("the broker takes the rest");
    records.len() as f64 / start.elapsed().as_secs_f64()
}
