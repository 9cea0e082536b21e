//! The press: sends lanes to the topic, and tells who waits for them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::drain::Halt;
use super::{Config, Shared};
use crate::model::batch::Entry;
use crate::model::class::Class;
use crate::model::rung::Rung;
use crate::model::stream::StreamId;
use crate::runtime::clock::Clock;
use crate::sink::kafka::{Kafka, Part, Sent};
use crate::sink::{Sink as _, SinkError};
use crate::store::outbox::{Gone, Load};

/// How long what is under way at the stop may take.
const LAST_BATCH: Duration = Duration::from_secs(2);
/// How long the client may take to end.
const CLOSE: Duration = Duration::from_secs(2);

/// Pieces of one stream on their way out.
pub(super) struct Lane {
    load: Load,
    /// Up to where they are confirmed.
    done: u64,
}

/// The way to the topic.
pub(super) struct Press {
    sink: Kafka,
    clock: Clock,
    shared: Arc<Shared>,
}

impl Press {
    pub(super) fn new(config: &Config, shared: Arc<Shared>) -> Self {
        Self { sink: Kafka::new(config.kafka.clone()), clock: config.clock.clone(), shared }
    }

    /// Looks whether the road is open.
    pub(super) async fn probe(&mut self) -> Result<(), Rung> {
        self.sink.probe().await.map(drop)
    }

    /// Lets go of the client.
    pub(super) async fn close(&mut self) {
        self.sink.close(Instant::now() + CLOSE).await;
    }

    /// Sends all of the lanes. When that fails, they know how far each has come.
    pub(super) async fn send(
        &mut self,
        lanes: &mut [Lane],
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        loop {
            let mut open: Vec<&mut Lane> =
                lanes.iter_mut().filter(|lane| !lane.is_sent()).collect();
            if open.is_empty() {
                return Ok(());
            }
            let parts: Vec<Part<'_>> = open.iter().map(|lane| lane.rest()).collect();
            let Sent { sizes, error } = self.deliver(&parts, stop).await?;
            let mut moved = false;
            for (lane, size) in open.iter_mut().zip(sizes) {
                moved |= self.confirm(lane, size);
            }
            match error {
                None => {}
                Some((lane, error)) if error.class() == Class::Reject => {
                    self.withhold(open[lane], &error);
                }
                // Met again by the next one, which begins with it.
                Some(_) if moved => {}
                Some((_, error)) => return Err(error.into()),
            }
        }
    }

    async fn deliver(
        &mut self,
        parts: &[Part<'_>],
        stop: &CancellationToken,
    ) -> Result<Sent, Halt> {
        let too_late = async {
            stop.cancelled().await;
            sleep(LAST_BATCH).await;
        };
        tokio::select! {
            biased;
            sent = self.sink.deliver_all(parts) => Ok(sent?),
            // Abandoned: what the broker took of it, it will be given again.
            () = too_late => Err(Halt::Stop),
        }
    }

    /// Notes how far a lane has come, and tells who waits; whether it has moved.
    fn confirm(&self, lane: &mut Lane, size: u64) -> bool {
        let before = lane.done;
        lane.done = size;
        self.shared.published.fetch_add(size - before, Ordering::Relaxed);
        for piece in &lane.load.pieces {
            let is_new = before < piece.next_seq && piece.next_seq <= size;
            if is_new && lane.is_told(piece.first_seq, piece.next_seq) {
                self.shared.waiters.confirm(piece.id);
            }
        }
        size > before
    }

    /// Leaves of the stamp that the broker refused nothing but its leaf.
    fn withhold(&self, lane: &mut Lane, error: &SinkError) {
        let (stream, seq) = (lane.stream(), lane.done);
        let passed = (seq - lane.load.batch.first_seq) as usize;
        let Some(entry) = lane.load.batch.entries.get_mut(passed) else { return };
        tracing::error!(%stream, seq, %error, "the broker refuses a stamp; its leaf alone goes on");
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        let since = self.clock.now();
        *entry = Entry::Withheld { leaf: *entry.leaf(), reason: error.text.clone(), since };
    }
}

impl Lane {
    pub(super) fn new(load: Load) -> Self {
        let mut done = load.batch.first_seq;
        if load.batch.entries.is_empty() {
            let stream = load.batch.stream;
            tracing::error!(%stream, seq = done, "the outbox names a stamp that is not there");
            done += 1;
        }
        Self { load, done }
    }

    pub(super) fn stream(&self) -> StreamId {
        self.load.batch.stream
    }

    /// Up to where it is confirmed.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// Whether all of its pieces are confirmed.
    pub(super) fn is_whole(&self) -> bool {
        self.load.pieces.last().is_none_or(|last| last.next_seq <= self.done)
    }

    /// Adds what is confirmed of it to what is gone.
    pub(super) fn note_gone(&self, gone: &mut Gone) {
        gone.add(&self.load.pieces, self.done);
    }

    /// Whether everything that was loaded is confirmed.
    fn is_sent(&self) -> bool {
        self.load.batch.end() <= self.done
    }

    fn rest(&self) -> Part<'_> {
        Part { batch: &self.load.batch, from: self.done }
    }

    /// Whether stamps went out from one position to another. What was refused is on the topic as a
    /// leaf only, which is not what the caller asked for.
    fn is_told(&self, from: u64, to: u64) -> bool {
        let first = self.load.batch.first_seq;
        let place = |seq: u64| seq.saturating_sub(first) as usize;
        let entries = self.load.batch.entries.get(place(from)..place(to)).unwrap_or_default();
        entries.iter().all(|entry| matches!(entry, Entry::Stamp(_)))
    }
}
