//! The producer of what the adapter itself puts onto topics: answers and dead letters.
//!
//! Promises: what is said to be sent is confirmed by the broker. A topic that is not there is made.

use std::collections::HashSet;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::model::rung::Rung;
use crate::sink::kafka::{self, road};

/// How long the broker may take to confirm a record.
const PATIENCE: Duration = Duration::from_secs(10);

/// A record to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) topic: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Why a record was not sent.
#[derive(Debug, thiserror::Error)]
pub enum OutletError {
    /// The config forbids the road, or a secret cannot be had.
    #[error("write to Kafka")]
    Road(#[from] Rung),
    /// The broker did not confirm it.
    #[error(
        "write to the topic {topic}: {source}; it may be missing: create it, or grant this user CREATE"
    )]
    Broker {
        /// Which one.
        topic: String,
        /// What it said.
        source: KafkaError,
    },
    /// The client library refuses.
    #[error("write to Kafka: check [kafka]")]
    Client(#[source] KafkaError),
}

impl OutletError {
    /// Whether the topic takes no record as large.
    pub(super) fn is_too_large(&self) -> bool {
        let Self::Broker { source, .. } = self else { return false };
        source.rdkafka_error_code() == Some(Code::MessageSizeTooLarge)
    }
}

/// The producer.
pub(super) struct Outlet {
    settings: ClientConfig,
    producer: FutureProducer<Mute>,
    /// Topics that are known to be there.
    topics: HashSet<String>,
}

impl Outlet {
    pub(super) fn new(config: &kafka::Config) -> Result<Self, OutletError> {
        let mut settings = road(config)?;
        settings
            .set("client.id", "stampd-adapter")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string())
            // A dead letter holds a record as JSON text, which can be larger than the record was.
            .set("message.max.bytes", "33554432")
            .set("compression.type", "zstd")
            .set("linger.ms", "5");
        let producer = settings.create_with_context(Mute).map_err(OutletError::Client)?;
        Ok(Self { settings, producer, topics: HashSet::new() })
    }

    /// Sends a record, and waits until the broker has it.
    pub(super) async fn send(&mut self, outgoing: &Outgoing) -> Result<(), OutletError> {
        let Outgoing { topic, key, value, headers } = outgoing;
        if !self.topics.contains(topic) {
            self.create(topic).await;
        }
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        });
        let mut record = FutureRecord::to(topic).payload(value).headers(headers);
        if let Some(key) = key {
            record = record.key(key);
        }
        match self.producer.send(record, PATIENCE).await {
            Ok(_) => {
                self.topics.insert(topic.clone());
                Ok(())
            }
            Err((source, _)) => {
                self.topics.remove(topic);
                Err(OutletError::Broker { topic: topic.clone(), source })
            }
        }
    }

    /// Creates a topic as the brokers' defaults have it. Where that is forbidden, sending shows
    /// whether it is there.
    async fn create(&self, topic: &str) {
        let admin: Result<AdminClient<Mute>, KafkaError> = self.settings.create_with_context(Mute);
        let Ok(admin) = admin else { return };
        let new = NewTopic::new(topic, -1, TopicReplication::Fixed(-1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        for outcome in admin.create_topics([&new], &options).await.into_iter().flatten() {
            match outcome {
                Ok(_) => tracing::info!(topic, "created the topic"),
                Err((_, Code::TopicAlreadyExists)) => {}
                Err((_, code)) => tracing::debug!(topic, %code, "the topic was not created"),
            }
        }
    }
}

/// The context of clients whose errors come as outcomes.
#[derive(Clone)]
struct Mute;

impl ClientContext for Mute {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}
