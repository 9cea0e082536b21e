//! The client in its group: settings, and what the group gives and takes away.
//!
//! A partition that the group gives is not read until its place in the database is known: it is
//! noted here, and taken up by the consumer when it can be. One that is taken away is let go of
//! at once. Both happen within a poll, on the thread that polls, so that no transaction is under
//! way: what was read and is not in the database yet is read by the next owner.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Notify;

use super::batch::Place;
use super::room::Room;
use super::{Config, Reading};
use crate::model::rung::Rung;
use crate::sink::kafka::road;

/// How often topics are looked for.
const REFRESH: Duration = Duration::from_secs(5);

/// What became of partitions since the last look.
#[derive(Default)]
pub(super) struct Changes {
    /// Given to us and not read yet.
    pub(super) arrived: BTreeSet<Place>,
    /// Taken away from us.
    pub(super) left: HashSet<Place>,
}

/// What the client reports.
pub(super) struct Listener {
    /// Written within polls, taken by the consumer after them; both on one thread.
    changes: Mutex<Changes>,
    /// Rung when something is wrong with the road.
    trouble: Arc<Notify>,
}

impl Listener {
    /// What became of partitions since the last look.
    pub(super) fn take(&self) -> Changes {
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starts a client and joins the group.
pub(super) fn join(
    config: &Config,
    trouble: Arc<Notify>,
) -> Result<BaseConsumer<Listener>, JoinError> {
    let settings = settings(config)?;
    let listener = Listener { changes: Mutex::default(), trouble };
    let consumer: BaseConsumer<Listener> = settings.create_with_context(listener)?;
    consumer.subscribe(&[&config.topics.pattern()])?;
    Ok(consumer)
}

/// Why the group cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The config forbids the road, or a secret cannot be had.
    #[error("read from Kafka")]
    Road(#[from] Rung),
    /// The client library refuses.
    #[error("read from Kafka: check [adapter] and [kafka]")]
    Client(#[from] KafkaError),
}

fn settings(config: &Config) -> Result<ClientConfig, Rung> {
    let Reading { group, session_timeout, fetch_bytes_max, .. } = &config.reading;
    let heartbeat = (*session_timeout / 3).min(Duration::from_secs(3));
    let millis = |duration: Duration| duration.as_millis().to_string();
    let mut settings = road(&config.kafka)?;
    settings
        .set("client.id", "stampd-adapter")
        .set("group.id", group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", millis(*session_timeout))
        .set("heartbeat.interval.ms", millis(heartbeat))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Where to begin is said for each partition; an offset that is gone later is a state.
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.refresh.interval.ms", millis(REFRESH))
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", "100");
    Room::of(*fetch_bytes_max).set(&mut settings);
    Ok(settings)
}

/// Partitions as the client takes them.
pub(super) fn list<'p>(
    places: impl IntoIterator<Item = (&'p Place, Offset)>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in places {
        list.add_partition_offset(topic, *partition, offset)
            .expect("offsets that are read back are never beyond what Kafka has");
    }
    list
}

fn places(list: &TopicPartitionList) -> impl Iterator<Item = Place> {
    list.elements()
        .into_iter()
        .map(|element| (element.topic().to_owned(), element.partition()))
        .collect::<Vec<_>>()
        .into_iter()
}

impl ConsumerContext for Listener {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        given: &mut TopicPartitionList,
    ) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            changes.left.retain(|place| !places(given).any(|new| new == *place));
            changes.arrived.extend(places(given));
            // The group wants an answer now; which partitions are read, and from where, follows.
            consumer.incremental_assign(&TopicPartitionList::new())
        } else {
            changes.left.extend(places(given));
            changes.arrived.retain(|place| !places(given).any(|gone| gone == *place));
            let_go(consumer, given)
        };
        if let Err(error) = outcome {
            tracing::error!(%error, "failed to follow the group: the client does not take it");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        // For tools that show lag; where we are is in the database.
        if let Err(error) = result {
            tracing::debug!(%error, "the group's offsets were not committed");
        }
    }
}

/// Gives up those of the partitions that are read.
fn let_go(consumer: &BaseConsumer<Listener>, gone: &TopicPartitionList) -> KafkaResult<()> {
    let read: HashSet<Place> = places(&consumer.assignment()?).collect();
    let both: Vec<Place> = places(gone).filter(|place| read.contains(place)).collect();
    consumer.incremental_unassign(&list(both.iter().map(|place| (place, Offset::Invalid))))
}

impl ClientContext for Listener {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        self.trouble.notify_one();
    }
}
