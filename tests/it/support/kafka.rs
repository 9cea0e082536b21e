//! Topics of the test bed's Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::wait::DEADLINE;
use super::{bed, block_on, random_name};

/// A topic by a random name, deleted with the value.
pub struct Topic {
    name: String,
    partitions: i32,
    broker: ClientConfig,
}

/// A record as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub headers: BTreeMap<String, Vec<u8>>,
}

impl Record {
    /// The value as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.value).expect("the value is JSON")
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no header {name}"));
        std::str::from_utf8(value).expect("the header is text")
    }
}

impl Topic {
    /// Makes an empty topic.
    pub fn create(partitions: i32) -> Self {
        Self::named(&random_name("it"), partitions, plaintext())
    }

    /// Makes an empty topic by a name of the caller's, on the broker that a client config leads to.
    pub fn named(name: &str, partitions: i32, broker: ClientConfig) -> Self {
        let name = name.to_owned();
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let made = block_on(|| async { admin(&broker).create_topics([&topic], &patience()).await });
        for topic in made.expect("the broker answers") {
            topic.expect("the broker makes the topic");
        }
        Self { name, partitions, broker }
    }

    /// Takes over a topic that the code under test has made.
    pub fn adopt(name: String, partitions: i32) -> Self {
        Self { name, partitions, broker: plaintext() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything that is on the topic now, ordered by partition and offset.
    pub fn read_to_end(&self) -> Vec<Record> {
        read_to_end(self.broker.clone(), &self.name, self.partitions)
    }
}

/// Everything that is on a topic now, ordered by partition and offset, as a client of this config
/// reads it.
pub fn read_to_end(mut config: ClientConfig, topic: &str, partitions: i32) -> Vec<Record> {
    let consumer: BaseConsumer = config
        .set("group.id", random_name("reader"))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer starts");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("the beginning is a valid offset");
    }
    consumer.assign(&assignment).expect("the partitions are assigned");
    let mut records = Vec::new();
    // The end of a partition is told again whenever the client has begun anew there.
    let mut open: BTreeSet<i32> = (0..partitions).collect();
    let start = Instant::now();
    while !open.is_empty() {
        assert!(start.elapsed() < DEADLINE, "the end of {topic} was not reached");
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => records.push(record(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => panic!("reading {topic}: {error}"),
            None => {}
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

impl Drop for Topic {
    fn drop(&mut self) {
        let admin = admin(&self.broker);
        let deleted = block_on(|| async { admin.delete_topics(&[&self.name], &patience()).await });
        deleted.expect("the broker answers");
    }
}

fn admin(broker: &ClientConfig) -> AdminClient<DefaultClientContext> {
    broker.create().expect("an admin client starts")
}

fn patience() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(DEADLINE))
}

/// A client config that leads to the plaintext listener.
pub fn plaintext() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bed("STAMPD_TEST_KAFKA"));
    config
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().unwrap_or_default().to_vec(),
        value: message.payload().unwrap_or_default().to_vec(),
        headers: headers
            .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
            .collect(),
    }
}
