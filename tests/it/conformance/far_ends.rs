//! The far ends that the suite runs against, and how their readers see them.

use std::collections::BTreeMap;

use stampd::model::stream::{Leaf, StreamId};
use stampd::sink::Sink;
use stampd::sink::bridge::Bridge;
use stampd::sink::kafka::{self, Kafka};
use stampd::sink::postgres::Postgres;
use stampd::sink::recording::{Receiver, Recording};

use crate::support::bed;
use crate::support::bridge::Server;
use crate::support::kafka::Topic;
use crate::support::record::{Record, config};

/// Bodies longer than this are refused by all of them.
const BODY_BYTES_MAX: usize = 100_000;

/// A far end.
pub trait FarEnd {
    type Client: Sink;

    async fn create() -> Self;

    /// A client that has not been probed.
    fn client(&self) -> Self::Client;

    /// The leaves that a reader finds under each seq; what repeats is told by its identity.
    async fn read(&self, stream: StreamId) -> BTreeMap<u64, Vec<Leaf>>;
}

pub struct InMemory(Receiver);

impl FarEnd for InMemory {
    type Client = Recording;

    async fn create() -> Self {
        let receiver = Receiver::new("memory");
        receiver.refuse_bodies_over(BODY_BYTES_MAX);
        Self(receiver)
    }

    fn client(&self) -> Recording {
        self.0.sink()
    }

    async fn read(&self, stream: StreamId) -> BTreeMap<u64, Vec<Leaf>> {
        (0..).zip(self.0.held(stream).iter().map(|entry| vec![*entry.leaf()])).collect()
    }
}

pub struct OnPostgres(Record);

impl FarEnd for OnPostgres {
    type Client = Postgres;

    async fn create() -> Self {
        let record = Record::create().await;
        record.database.batch(&format!(
            "ALTER TABLE stamp_events ADD CHECK (length(body::text) <= {BODY_BYTES_MAX})"
        ));
        Self(record)
    }

    fn client(&self) -> Postgres {
        Postgres::new(&config(&self.0.agent)).expect("the config is good")
    }

    async fn read(&self, stream: StreamId) -> BTreeMap<u64, Vec<Leaf>> {
        held(&self.0, stream).await
    }
}

/// What the record holds of a stream.
async fn held(record: &Record, stream: StreamId) -> BTreeMap<u64, Vec<Leaf>> {
    let query = "SELECT DISTINCT seq, leaf FROM
        (SELECT stream_id, seq, leaf FROM stamp_events
         UNION ALL SELECT stream_id, seq, leaf FROM withheld) held
        WHERE stream_id = $1 ORDER BY seq";
    let admin = record.database.admin().connect().await;
    let rows = admin.query(query, &[&stream.as_uuid()]).await.expect("the record is there");
    let mut found = BTreeMap::<u64, Vec<Leaf>>::new();
    for row in rows {
        let bytes: [u8; 32] = row.get::<_, Vec<u8>>(1).try_into().expect("32 bytes");
        found.entry(row.get::<_, i64>(0) as u64).or_default().push(Leaf::from_bytes(bytes));
    }
    found
}

pub struct OverBridge {
    server: Server,
    token: String,
}

impl FarEnd for OverBridge {
    type Client = Bridge;

    async fn create() -> Self {
        let OnPostgres(record) = OnPostgres::create().await;
        let server = Server::over(record).await;
        let token = server.token("conformance", &[]).await;
        Self { server, token }
    }

    fn client(&self) -> Bridge {
        self.server.sink(&self.token)
    }

    async fn read(&self, stream: StreamId) -> BTreeMap<u64, Vec<Leaf>> {
        held(&self.server.record, stream).await
    }
}

pub struct OnKafka(Topic);

/// How stampd would be told to reach the test bed's broker.
pub fn kafka_config(topic: &str) -> kafka::Config {
    kafka::Config {
        brokers: vec![bed("STAMPD_TEST_KAFKA")],
        topic: topic.to_owned(),
        ..kafka::Config::default()
    }
}

impl FarEnd for OnKafka {
    type Client = Kafka;

    async fn create() -> Self {
        Self(Topic::create(3))
    }

    fn client(&self) -> Kafka {
        Kafka::new(kafka_config(self.0.name()))
    }

    async fn read(&self, stream: StreamId) -> BTreeMap<u64, Vec<Leaf>> {
        let mut found = BTreeMap::<u64, Vec<Leaf>>::new();
        for record in self.0.read_to_end() {
            let id = record.header("ce_id").to_owned();
            let (of, seq) = id.split_once('/').expect("stream/seq");
            assert_eq!(record.key, of.as_bytes(), "a stream is one key");
            if of != stream.to_string() {
                continue;
            }
            let leaf = leaf_of(&record.value);
            assert_eq!(leaf.to_string(), record.header("stampd_leaf"));
            let leaves = found.entry(seq.parse().expect("a number")).or_default();
            if !leaves.contains(&leaf) {
                leaves.push(leaf);
            }
        }
        found
    }
}

/// The leaf that the value itself proves, or names where the body is withheld.
fn leaf_of(value: &[u8]) -> Leaf {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        payload: Payload<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Payload<'a> {
        #[serde(borrow)]
        stamp: Option<&'a serde_json::value::RawValue>,
        withheld: Option<serde_json::Value>,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(value).expect("an envelope");
    if let Some(body) = envelope.payload.stamp {
        return Leaf::of(body.get().as_bytes());
    }
    let withheld = envelope.payload.withheld.expect("either a body or its leaf");
    let text = withheld["leaf"].as_str().expect("the leaf is there").to_owned();
    Leaf::from_bytes(stampd::model::digest::from_hex(&text).expect("64 digits"))
}
