//! The consumer: reads, and hands what was read to the database, batch by batch.
//!
//! One thread does both in turn, so that no transaction is under way when the group gives or takes
//! partitions. Promises: what is in the database is read no further than its offset says, and an
//! offset there moves only together with the rows; records of one partition go in order; while the
//! database cannot be had nothing is read, and the process stays a member of its group. However
//! long the backlog, no more is held than the config says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::batch::{Place, steps};
use super::breaker::Breaker;
use super::group::{JoinError, Listener, join, list};
use super::held::Held;
use super::lane::Lane;
use super::placement::{Beginning, Placement, place};
use super::queue::{Queue, Queues};
use super::read::read;
use super::writer::{Failure, Writer};
use super::{Config, Parts};
use crate::model::class::Class;
use crate::runtime::chain::chain;
use crate::runtime::failpoint;
use crate::store::StoreError;
use crate::store::offsets::{Advance, Offset as Stored};

/// How long a poll waits when nothing is held, and so how soon a stop is noticed.
const IDLE: Duration = Duration::from_millis(100);
/// How long after a failed look at a partition the next one is due.
const PLACE_AGAIN: Duration = Duration::from_secs(1);
/// How long a broker may take to say what a partition has.
const WATERMARKS: Duration = Duration::from_secs(5);
/// How long a batch waits that only a person can help.
const PARKED: Duration = Duration::from_secs(5);
/// How long questions wait whose answers could not be sent.
const UNANSWERED: Duration = Duration::from_secs(1);

/// The consumer.
pub(super) struct Consumer {
    config: Config,
    parts: Parts,
    runtime: Runtime,
    inner: BaseConsumer<Listener>,
    held: Held,
    /// Given to us and not read yet.
    arrived: BTreeSet<Place>,
    /// When these are looked at next.
    place_at: Option<Instant>,
    queues: Queues,
    writer: Writer,
    answers: Answers,
    breaker: Breaker,
    /// Failures of the batch that is tried now.
    failures: u32,
    /// Records of the next transaction, at most: less after a failure, more after each success.
    rows: usize,
}

/// Why the consumer ends.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// It cannot begin.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// Its answers have no client.
    #[error(transparent)]
    Outlet(#[from] super::outlet::OutletError),
    /// The system has no room for it.
    #[error("start the consumer's runtime")]
    Runtime(#[source] std::io::Error),
    /// The client library gave up.
    #[error("read from Kafka: the client cannot go on")]
    Fatal(#[source] KafkaError),
}

impl Consumer {
    /// Joins the group. Whether Kafka can be reached shows later.
    pub(super) fn new(config: Config, parts: Parts) -> Result<Self, ConsumerError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ConsumerError::Runtime)?;
        let inner = join(&config, Arc::clone(&parts.trouble))?;
        Ok(Self {
            inner,
            runtime,
            held: Held::default(),
            arrived: BTreeSet::new(),
            place_at: None,
            queues: Queues::default(),
            writer: Writer::new(&config, &parts),
            answers: Answers::new(&config, &parts)?,
            breaker: Breaker::new(config.reading.breaker),
            failures: 0,
            rows: config.reading.batch_rows_max,
            config,
            parts,
        })
    }

    /// Reads until `stop`.
    pub(super) fn run(mut self, stop: &CancellationToken) -> Result<(), ConsumerError> {
        while !stop.is_cancelled() {
            self.gather(stop)?;
            self.follow();
            self.place();
            for lane in Lane::BOTH {
                self.settle(lane);
            }
        }
        self.leave();
        Ok(())
    }

    /// Reads until there is enough for a transaction, or the oldest record has waited long enough,
    /// or the group has news. While nothing can be written it only keeps us in the group.
    fn gather(&mut self, stop: &CancellationToken) -> Result<(), ConsumerError> {
        while !stop.is_cancelled() {
            let now = Instant::now();
            let wait = self.patience(now);
            let read = match self.inner.poll(wait) {
                None => return Ok(()),
                Some(Err(error)) => Err(error),
                Some(Ok(message)) => {
                    let place = (message.topic().to_owned(), message.partition());
                    let offset = message.offset();
                    let expected = self.held.expects(&place, offset);
                    Ok((
                        place,
                        offset,
                        expected.map(|slug| (slug, read(slug, &message, self.parts.clock.now()))),
                    ))
                }
            };
            match read {
                Err(error) => return self.stumble(error),
                Ok((place, offset, Some((slug, item)))) => {
                    self.parts.figures.consumed.of([&place.0]).inc();
                    self.held.took(&place, offset);
                    self.queues.of_mut(Lane::of(slug)).batch.push(item, now);
                    failpoint::pass("record-read");
                }
                Ok((_, _, None)) => {}
            }
            if self.queues.is_one_in_the_way(self.config.reading.batch_rows_max) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// How long a poll may wait: until the first of the queues is due.
    fn patience(&self, now: Instant) -> Duration {
        let due = |queue: &Queue| {
            if queue.paused {
                return now + queue.rest(now).max(self.breaker.wait(now));
            }
            let since = queue.batch.since();
            since.map_or(now + IDLE, |since| since + self.config.reading.batch_wait)
        };
        let [first, second] = Lane::BOTH.map(|lane| due(self.queues.of(lane)));
        first.min(second).saturating_duration_since(now).min(IDLE)
    }

    /// Whether nothing may be tried for a queue now.
    fn is_resting(&mut self, lane: Lane, now: Instant) -> bool {
        let is_resting = self.queues.of(lane).is_resting(now) || !self.breaker.admits(now);
        // It may have become half open.
        self.parts.tell_breaker(self.breaker.state());
        is_resting
    }

    /// What the client says went wrong.
    fn stumble(&mut self, error: KafkaError) -> Result<(), ConsumerError> {
        match error.rdkafka_error_code() {
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
                return Err(ConsumerError::Fatal(error));
            }
            // What was to come next is gone: the database's offsets against what there is decide.
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => self.begin_anew(),
            _ => self.parts.trouble.notify_one(),
        }
        tracing::debug!(%error, "reading");
        Ok(())
    }

    /// Takes note of what the group gave and took.
    fn follow(&mut self) {
        let changes = self.inner.context().take();
        if !changes.left.is_empty() {
            tracing::info!(partitions = changes.left.len(), "partitions went to others");
            self.held.remove(&changes.left);
            self.arrived.retain(|place| !changes.left.contains(place));
            self.queues.drop_places(&changes.left);
            // What they waited for is somebody else's now.
            for lane in Lane::BOTH {
                self.resume_if_empty(lane);
            }
            self.show();
        }
        if !changes.arrived.is_empty() {
            self.arrived.extend(changes.arrived);
            self.place_at = None;
        }
    }

    /// Takes up partitions that were given to us, from where the database says.
    fn place(&mut self) {
        let now = Instant::now();
        let is_due = self.place_at.is_none_or(|at| at <= now);
        if self.arrived.is_empty() || !is_due || self.is_resting(Lane::Events, now) {
            return;
        }
        let topics: BTreeSet<&str> = self.arrived.iter().map(|(topic, _)| topic.as_str()).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        match self.runtime.block_on(self.writer.offsets(&topics)) {
            Ok(stored) => {
                self.breaker.succeeded();
                for lane in Lane::BOTH {
                    self.resume(lane);
                }
                self.place_by(&stored);
                self.place_at = Some(now + PLACE_AGAIN);
            }
            Err(failure) => self.fail(Lane::Events, failure),
        }
        self.show();
    }

    fn place_by(&mut self, stored: &[Stored]) {
        let mut taken = Vec::new();
        for arrived in &self.arrived {
            let (topic, partition) = arrived;
            let Some(slug) = self.config.topics.slug(topic) else { continue };
            let has = match self.inner.fetch_watermarks(topic, *partition, WATERMARKS) {
                Ok(has) => has,
                Err(error) => {
                    tracing::debug!(topic, partition, %error, "its offsets are not known yet");
                    continue;
                }
            };
            let of_topic = || stored.iter().filter(|stored| stored.topic == *topic);
            let known = of_topic().find(|stored| stored.partition == *partition);
            let known = known.map(|stored| stored.next);
            let placement = place(known, has, of_topic().next().is_some());
            taken.push((arrived.clone(), slug, known, placement));
        }
        let from = taken.iter().map(|(place, _, _, begun)| (place, Offset::Offset(begun.at)));
        let from = list(from);
        // They may have been paused when they were let go of.
        let assigned = self.inner.incremental_assign(&from).and_then(|()| self.inner.resume(&from));
        if let Err(error) = assigned {
            tracing::warn!(%error, "failed to take up partitions: trying again");
            return;
        }
        for (place, slug, known, placement) in taken {
            self.arrived.remove(&place);
            self.parts.figures.begun(placement.beginning);
            tell(&place, known, &placement);
            self.held.insert(place, slug, known, placement);
        }
        failpoint::pass("partitions-placed");
    }

    /// Lets go of everything that is read, to take it up again from where the database says.
    fn begin_anew(&mut self) {
        self.queues = Queues::default();
        let places = self.held.take_all();
        let list = list(places.iter().map(|place| (place, Offset::Invalid)));
        if let Err(error) = self.inner.incremental_unassign(&list) {
            tracing::debug!(%error, "some partitions had gone already");
        }
        self.arrived.extend(places);
        self.place_at = None;
        self.show();
    }

    /// Writes what is due of a batch, if the database may be tried.
    fn settle(&mut self, lane: Lane) {
        let now = Instant::now();
        let reading = &self.config.reading;
        let queue = self.queues.of(lane);
        if !queue.is_due(reading.batch_rows_max, reading.batch_wait, now) {
            return;
        }
        if self.is_resting(lane, now) {
            return self.pause(lane);
        }
        let front = self.queues.of(lane).batch.front(self.rows);
        let steps = steps(front, |place| self.held.known(place));
        let taken = self.runtime.block_on(async {
            if lane == Lane::Questions {
                self.answers.answer(&mut self.writer, front).await?;
            }
            self.writer.take(front, &steps).await
        });
        let rows = front.len();
        match taken {
            Ok(()) => self.succeed(lane, rows, &steps),
            Err(failure) => self.fail(lane, failure),
        }
        self.show();
    }

    fn succeed(&mut self, lane: Lane, rows: usize, steps: &[Advance]) {
        self.breaker.succeeded();
        self.failures = 0;
        self.rows = (self.rows * 2).min(self.config.reading.batch_rows_max);
        self.held.advanced(steps);
        self.queues.of_mut(lane).batch.drop_front(rows);
        self.resume(lane);
        let mut list = TopicPartitionList::new();
        for step in steps {
            // Only tools that show lag read these.
            let _ =
                list.add_partition_offset(&step.topic, step.partition, Offset::Offset(step.next));
        }
        if let Err(error) = self.inner.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "the group's offsets were not committed");
        }
        failpoint::pass("kafka-told");
    }

    /// Something was not done: what is due waits, and nothing more is read until it is.
    fn fail(&mut self, lane: Lane, failure: Failure) {
        let now = Instant::now();
        match failure {
            // The topic of answers is no reason to leave events alone.
            Failure::Outlet(error) => {
                tracing::warn!(why = chain(&error), "a question waits for its answer");
                self.queues.of_mut(lane).rest_until = Some(now + UNANSWERED);
                return self.pause(lane);
            }
            Failure::Store(error) if is_passing(&error) => {
                self.failures += 1;
                self.breaker.failed(self.failures, now);
                // What fails whole may pass in halves.
                self.rows = (self.rows / 2).max(1);
            }
            Failure::Store(_) => {
                for lane in Lane::BOTH {
                    self.queues.of_mut(lane).rest_until = Some(now + PARKED);
                }
            }
            Failure::Overtaken => {
                tracing::warn!("another adapter has gone on in our partitions: beginning anew");
                return self.begin_anew();
            }
        }
        for lane in Lane::BOTH {
            self.pause(lane);
        }
    }

    fn pause(&mut self, lane: Lane) {
        if std::mem::replace(&mut self.queues.of_mut(lane).paused, true) {
            return;
        }
        if let Err(error) = self.inner.pause(&self.partitions(lane)) {
            tracing::debug!(%error, "pausing");
        }
    }

    fn resume(&mut self, lane: Lane) {
        self.queues.of_mut(lane).rest_until = None;
        if !std::mem::replace(&mut self.queues.of_mut(lane).paused, false) {
            return;
        }
        if let Err(error) = self.inner.resume(&self.partitions(lane)) {
            tracing::debug!(%error, "resuming");
        }
    }

    fn resume_if_empty(&mut self, lane: Lane) {
        if self.queues.of(lane).batch.is_empty() {
            self.resume(lane);
        }
    }

    fn partitions(&self, lane: Lane) -> TopicPartitionList {
        let places = self.held.places().filter(|(_, slug)| Lane::of(*slug) == lane);
        list(places.map(|(place, _)| (place, Offset::Invalid)))
    }

    fn show(&self) {
        self.parts.tell_breaker(self.breaker.state());
        self.parts.figures.partitions(self.held.len());
        self.parts.view.partitions(self.held.shown());
    }

    /// Leaves the group, so that others need not wait for us to be missed.
    fn leave(self) {
        self.inner.unsubscribe();
        // Dropping the client says goodbye to the group.
        drop(self.inner);
        self.runtime.block_on(self.writer.close());
    }
}

/// Whether an error of the database may pass by itself.
fn is_passing(error: &StoreError) -> bool {
    match error.class() {
        Class::Retry | Class::RetrySmaller => true,
        Class::Park | Class::Reject | Class::Fork => false,
    }
}

/// Where a partition is taken up, at the level of what a person has to do about it.
fn tell((topic, partition): &Place, known: Option<i64>, placement: &Placement) {
    let (at, state) = (placement.at, placement.beginning.as_str());
    match placement.beginning {
        Beginning::New | Beginning::Added | Beginning::Resumed => {
            tracing::info!(topic, partition, at, state, "reading");
        }
        Beginning::Expired { lost } => tracing::error!(
            topic,
            partition,
            at,
            state,
            lost,
            "records were deleted before they were read: raise the topic's retention, and send \
             again what they told"
        ),
        Beginning::Recreated => tracing::warn!(
            topic,
            partition,
            at,
            known,
            state,
            "the topic ends before where we were: reading all of it"
        ),
    }
}
