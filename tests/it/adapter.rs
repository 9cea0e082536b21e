//! The adapter as processes, between a real Kafka and a real PostgreSQL.

mod contract;
mod failpoints;
mod flow;
mod model;
mod poison;
mod questions;
mod shapes;
mod states;
mod storm;
mod turmoil;

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;

use crate::support::client::Client;
use crate::support::kafka::{Record, Topic, read_to_end};
use crate::support::postgres::Database;
use crate::support::process::{Agent, Home};
use crate::support::wait::{DEADLINE, wait_for, wait_until};
use crate::support::{bed, random_name};

/// Longer than whole tests elsewhere: a session has to time out, and a group to settle again.
const LONG: Duration = Duration::from_mins(4);

/// A migrated database, an environment of topics, and a config that leads from these to that.
pub struct Stage {
    pub home: Home,
    pub database: Database,
    pub environment: String,
    pub group: String,
    broker: String,
    producer: BaseProducer,
    topics: Mutex<Vec<Topic>>,
}

impl Stage {
    /// A stage on the test bed's servers.
    pub fn new() -> Self {
        Self::on(&bed("STAMPD_TEST_KAFKA"))
    }

    /// A stage with another broker.
    pub fn on(broker: &str) -> Self {
        let mut database = Database::create();
        let mut home = Home::new();
        let admin = database.admin();
        home.set("ADMIN_PASSWORD", &admin.password);
        home.configure(&format!(
            "[postgres]\nurl = {:?}\npassword = {{ env = \"ADMIN_PASSWORD\" }}\n",
            admin.url_without_tls()
        ));
        home.must(&["migrate"]);
        let login = database.login("stampd_server");
        home.set("SERVER_PASSWORD", &login.password);
        let mut settings = ClientConfig::new();
        settings
            .set("bootstrap.servers", broker)
            .set("linger.ms", "5")
            .set("message.max.bytes", "20000000");
        let stage = Self {
            home,
            database,
            environment: random_name("it"),
            group: random_name("group"),
            broker: broker.to_owned(),
            producer: settings.create().expect("a producer starts"),
            topics: Mutex::default(),
        };
        stage.configure(&login.url_without_password(), "");
        stage
    }

    /// Writes the config, with more lines for `[adapter]`.
    pub fn configure(&self, url: &str, more: &str) {
        let Self { environment, group, broker, .. } = self;
        self.home.configure(&format!(
            "[kafka]\nbrokers = [{broker:?}]\n\
             topic = \"{environment}.omninode_bridge.onex.evt.metadata-stamp-created.v1\"\n\
             [postgres]\nurl = \"{url}?sslmode=disable\"\n\
             password = {{ env = \"SERVER_PASSWORD\" }}\n\
             [adapter]\nlisten = \"127.0.0.1:0\"\ngroup = {group:?}\nsession_timeout = \"6s\"\n\
             batch_wait = \"10ms\"\n{more}"
        ));
    }

    /// The name of a topic in the longer spelling.
    pub fn long(&self, slug: &str) -> String {
        format!("{}.omninode_bridge.onex.evt.{slug}.v1", self.environment)
    }

    /// The name of a topic in the shorter spelling.
    pub fn short(&self, domain: &str, slug: &str) -> String {
        format!("{}.omninode-bridge.{domain}.{slug}.v1", self.environment)
    }

    /// A client config that leads to its broker.
    fn client(&self) -> ClientConfig {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", &self.broker);
        settings
    }

    /// Makes a topic, unless it is there.
    pub fn topic(&self, name: &str, partitions: i32) {
        let mut topics = self.topics.lock().expect("no test panics with it");
        if !topics.iter().any(|topic| topic.name() == name) {
            topics.push(Topic::named(name, partitions, self.client()));
        }
    }

    /// Deletes a topic.
    pub fn forget(&self, name: &str) {
        let mut topics = self.topics.lock().expect("no test panics with it");
        topics.retain(|topic| topic.name() != name);
        wait_until(&format!("{name} is gone"), || {
            let consumer: BaseConsumer = self.client().create().expect("a client starts");
            let found = consumer.fetch_metadata(None, DEADLINE).expect("the broker answers");
            found.topics().iter().all(|topic| topic.name() != name)
        });
    }

    /// Sends a record whose value is JSON, to be confirmed by [`flush`](Self::flush).
    pub fn send(&self, topic: &str, key: &str, value: &Value) {
        self.send_bytes(topic, Some(key.as_bytes()), Some(value.to_string().as_bytes()), &[]);
    }

    /// Sends a record as it is.
    pub fn send_bytes(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) {
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        });
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).headers(headers);
        record.key = key;
        record.payload = value;
        while let Err((error, unsent)) = self.producer.send(record) {
            assert_eq!(
                error.rdkafka_error_code(),
                Some(rdkafka::types::RDKafkaErrorCode::QueueFull),
                "{error}"
            );
            self.producer.poll(Duration::from_millis(10));
            record = unsent;
        }
    }

    /// Waits until everything sent is confirmed.
    pub fn flush(&self) {
        self.producer.flush(DEADLINE).expect("the broker confirms what was sent");
    }

    /// Starts an adapter and waits until it is ready to be asked.
    pub fn start(&self, name: &str) -> Adapter {
        let mut process = self.home.start_role(&["adapter"], name);
        process.wait_ready();
        let health = process.wait_notice_of("STATUS=health at ");
        Adapter { process, health }
    }

    /// The single value that a query gives.
    pub fn value<T: for<'r> tokio_postgres::types::FromSql<'r> + Send>(&self, sql: &str) -> T {
        self.database.admin().value(sql)
    }

    pub fn count(&self, table: &str) -> i64 {
        self.value(&format!("SELECT count(*) FROM {table}"))
    }

    /// Waits until a table has this many rows.
    pub fn wait_count(&self, table: &str, rows: i64) {
        wait_until(&format!("{table} has {rows} rows"), || self.count(table) >= rows);
        assert_eq!(self.count(table), rows, "{table}");
    }

    /// Waits until the offsets in the database say that everything on a topic was read.
    pub fn wait_read(&self, topic: &str, records: i64) {
        let sql = format!(
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM adapter_offsets \
             WHERE consumer_group = '{}' AND topic = '{topic}'",
            self.group
        );
        wait_until(&format!("{records} of {topic} are read"), || {
            self.value::<i64>(&sql) >= records
        });
    }

    /// Everything on a topic with one partition, once it has as many records.
    pub fn wait_records(&self, topic: &str, records: usize) -> Vec<Record> {
        wait_for(&format!("{topic} has {records} records"), || {
            let found = read_to_end(self.client(), topic, 1);
            (found.len() >= records).then_some(found)
        })
    }
}

/// A running adapter.
pub struct Adapter {
    pub process: Agent,
    health: String,
}

impl Adapter {
    /// What it answers to a path.
    pub fn get(&self, path: &str) -> (u16, Value) {
        Client::connect(&self.health).get(path)
    }

    /// Its metrics.
    pub fn metrics(&self) -> String {
        Client::connect(&self.health).text("/metrics").1
    }

    /// Waits until it says that both servers are reached.
    pub fn wait_ready(&self) {
        wait_until("it is ready", || self.get("/health/ready").0 == 200);
    }
}

/// A workflow that began.
pub fn started(correlation_id: &str) -> Value {
    serde_json::json!({
        "correlation_id": correlation_id,
        "workflow_type": "test",
        "current_state": "PROCESSING",
        "namespace": "a.b.c",
    })
}

/// A random UUID as text.
pub fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}
