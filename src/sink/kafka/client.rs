//! The client: how tasks speak to a producer on a thread of its own.
//!
//! The thread ends, and the producer with it, when the [`Client`] is dropped.

use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, unbounded};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

use super::Config;
use super::producer::Producer;
use super::reports::Quiet;
use crate::model::envelope::Event;
use crate::model::rung::{Height, Rung};
use crate::sink::SinkError;

/// How long the cluster may take to name itself and the topic.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(12);
/// Rendered pieces that wait for the thread.
const PIECES_MAX: usize = 4;
/// A running client.
pub(super) struct Client {
    work: Sender<Work>,
    ended: oneshot::Receiver<()>,
}

/// What the thread is asked to do.
pub(super) enum Work {
    Probe { topic: String, is_made: bool, reply: oneshot::Sender<Result<Answer, Rung>> },
    Deliver(Job),
}

/// What the cluster says at a probe.
pub(super) struct Answer {
    pub(super) cluster_id: String,
    pub(super) topic_is_missing: bool,
}

/// Records that go together: of several keys, in order for each.
pub(super) struct Records {
    pub(super) topic: String,
    pub(super) lanes: Vec<Lane>,
}

/// The records of one key.
pub(super) struct Lane {
    pub(super) key: String,
    pub(super) count: usize,
}

/// Rendered records of one lane, which come in the order of the lanes.
pub(super) struct Piece {
    pub(super) lane: usize,
    pub(super) events: Vec<Event>,
}

/// The way by which rendered records reach the thread.
pub(super) struct Feed(mpsc::Sender<Piece>);

impl Feed {
    /// Hands over the next records; false when the thread wants no more.
    pub(super) async fn push(&mut self, piece: Piece) -> bool {
        self.0.send(piece).await.is_ok()
    }
}

/// What became of records.
pub(super) struct Outcome {
    /// The length of each lane's prefix that the cluster has confirmed.
    pub(super) confirmed: Vec<usize>,
    /// What became of the record behind that of a lane, when not all are confirmed.
    pub(super) error: Option<(usize, SinkError)>,
}

/// Records for the thread.
pub(super) struct Job {
    pub(super) records: Records,
    pub(super) pieces: mpsc::Receiver<Piece>,
    pub(super) reply: oneshot::Sender<Outcome>,
}

impl Client {
    /// Starts the thread and its producer.
    pub(super) fn start(settings: &ClientConfig, config: &Config) -> Result<Self, String> {
        let (work, taken) = unbounded();
        let (end, ended) = oneshot::channel();
        let producer = Producer::new(settings, config)?;
        let serve = move || {
            let _end = end;
            producer.serve(&taken);
        };
        std::thread::Builder::new()
            .name("kafka".to_owned())
            .spawn(serve)
            .map_err(|error| format!("the thread of the Kafka client does not start: {error}"))?;
        Ok(Self { work, ended })
    }

    /// Asks the cluster who it is and whether it has the topic; of one that `is_made` until it knows of
    /// it, since brokers hear of a topic a moment after whoever made it.
    pub(super) async fn probe(&self, topic: &str, is_made: bool) -> Result<Answer, Rung> {
        let (reply, answer) = oneshot::channel();
        let gone = || Rung::retry(Height::Application, "the Kafka client ended during its probe");
        let work = Work::Probe { topic: topic.to_owned(), is_made, reply };
        self.work.send(work).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Begins to send records, of which the first are rendered; none when the thread has ended.
    pub(super) fn deliver(
        &self,
        records: Records,
        first: Option<Piece>,
    ) -> Option<(Feed, oneshot::Receiver<Outcome>)> {
        let (feed, pieces) = mpsc::channel(PIECES_MAX);
        let (reply, outcome) = oneshot::channel();
        if let Some(first) = first {
            // There already when the thread looks: otherwise it would look again a poll later.
            feed.try_send(first).expect("an empty channel has room");
        }
        self.work.send(Work::Deliver(Job { records, pieces, reply })).ok()?;
        Some((Feed(feed), outcome))
    }

    /// Ends the thread and waits for it, until `deadline`.
    pub(super) async fn close(self, deadline: Instant) {
        drop(self.work);
        // Past the deadline the thread is left to end by itself.
        let _ = timeout_at(deadline.into(), self.ended).await;
    }
}

/// Whether a topic is meant to be there afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Creation {
    ForGood,
    /// The cluster only says whether it would.
    ForShow,
}

/// Creates the topic as the brokers' defaults have it.
pub(super) async fn create_topic(
    settings: &ClientConfig,
    topic: &str,
    creation: Creation,
) -> Result<(), Rung> {
    let failed = |why: String| {
        let text = format!(
            "the topic {topic} does not exist and cannot be created ({why}): create it with \
             kafka-topics.sh --create --topic {topic}"
        );
        Rung::park(Height::Application, text)
    };
    let admin: AdminClient<Quiet> =
        settings.create_with_context(Quiet).map_err(|error| failed(error.to_string()))?;
    let new = NewTopic::new(topic, -1, TopicReplication::Fixed(-1));
    let options = AdminOptions::new()
        .operation_timeout(Some(PROBE_TIMEOUT))
        .validate_only(creation == Creation::ForShow);
    let created = admin.create_topics([&new], &options).await;
    for outcome in created.map_err(|error| failed(error.to_string()))? {
        match outcome {
            Ok(_) if creation == Creation::ForShow => {}
            Ok(_) => tracing::info!(topic, "created the topic"),
            Err((_, Code::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(failed(code.to_string())),
        }
    }
    Ok(())
}
