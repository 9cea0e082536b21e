//! The publisher's task.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Config, Road, Shared, lock};
use crate::model::batch::Entry;
use crate::model::class::Class;
use crate::runtime::chain::chain;
use crate::sink::kafka::Kafka;
use crate::sink::{Delivery, Sink, SinkError};
use crate::store::StoreError;
use crate::store::address::Address;
use crate::store::outbox::{Load, Outbox, Piece, runs};
use crate::sync::backoff::Backoff;

/// Rounds in one shard before the others have their turn.
const ROUNDS_MAX: u32 = 16;
/// How soon to look again at a shard that another bridge is draining while something waits there.
const CONTENDED: Duration = Duration::from_millis(50);
/// How long a batch that is under way at the stop may take.
const LAST_BATCH: Duration = Duration::from_secs(2);
/// How long the client may take to end.
const CLOSE: Duration = Duration::from_secs(2);

/// The publisher's task.
pub struct Drain {
    config: Config,
    address: Address,
    shared: Arc<Shared>,
    sink: Kafka,
    /// None before the first connection and after each failure.
    outbox: Option<Outbox>,
    looked: Option<Instant>,
    /// Starts over when both roads held for a sweep.
    backoff: Backoff,
}

/// Why draining ended.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("publish: stopped")]
    Stop,
}

/// What was found in the shards.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    published: bool,
    /// Something waits where another bridge is at work.
    contended: bool,
}

impl Drain {
    pub(super) fn new(config: Config, address: Address, shared: Arc<Shared>) -> Self {
        let sink = Kafka::new(config.kafka.clone());
        let (first, max) = config.retry;
        let backoff = Backoff::new(first, max);
        Self { config, address, shared, sink, outbox: None, looked: None, backoff }
    }

    /// Publishes until `stop`.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        while !stop.is_cancelled() {
            let why = self.while_open(&stop).await;
            if !stop.is_cancelled() {
                self.turn(Road::Closed(why));
            }
            self.shared.waiters.disappoint();
            self.sink.close(Instant::now() + CLOSE).await;
            let wait = self.backoff.next(Uuid::new_v4().as_u128() as u32);
            self.rest(wait, &stop).await;
        }
        Ok(())
    }

    /// Publishes as long as that is possible; returns why it is not.
    async fn while_open(&mut self, stop: &CancellationToken) -> String {
        match stop.run_until_cancelled(self.sink.probe()).await {
            None => Halt::Stop.to_text(),
            Some(Err(rung)) => rung.text,
            Some(Ok(_)) => {
                let halt = self.drain(stop).await;
                self.outbox = None;
                halt.to_text()
            }
        }
    }

    /// Tells which way the road turned, and logs it once.
    fn turn(&self, now: Road) {
        let before = std::mem::replace(&mut *lock(&self.shared.road), now.clone());
        match now {
            Road::Open if before != Road::Open => tracing::info!("events go onto the topic"),
            Road::Closed(why) if !matches!(before, Road::Closed(_)) => {
                tracing::warn!(why, "events wait in the outbox");
            }
            Road::Open | Road::Closed(_) | Road::Unknown => {}
        }
    }

    /// Waits while the road is closed, and goes on counting what waits.
    async fn rest(&mut self, wait: Duration, stop: &CancellationToken) {
        let until = Instant::now() + wait;
        while !stop.is_cancelled() {
            // The database may be what is away: then the depth is as it was.
            let _ = self.look().await;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            stop.run_until_cancelled(sleep(left.min(self.config.sweep))).await;
        }
    }

    /// Publishes until something fails.
    async fn drain(&mut self, stop: &CancellationToken) -> Halt {
        loop {
            let found = match self.sweep(stop).await {
                Ok(found) => found,
                Err(halt) => return halt,
            };
            self.backoff.reset();
            if found.published {
                continue;
            }
            let wait = if found.contended { CONTENDED } else { self.config.sweep };
            let bell = Arc::clone(&self.shared.bell);
            // All three are cancel-safe; a ring that nobody hears is kept.
            tokio::select! {
                () = stop.cancelled() => return Halt::Stop,
                () = bell.notified() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Drains every shard in which something waits and nobody is at work.
    async fn sweep(&mut self, stop: &CancellationToken) -> Result<Found, Halt> {
        let mut found = Found::default();
        self.look().await?;
        let shards = self.outbox().await?.shards().await?;
        // Open is what leads from the one to the other: both have answered.
        self.turn(Road::Open);
        for shard in shards {
            match self.outbox().await?.claim(shard).await? {
                None => found.contended = true,
                Some(pieces) => {
                    found.published |= self.drain_shard(shard, pieces, stop).await?;
                    self.outbox().await?.release(shard).await?;
                }
            }
        }
        Ok(found)
    }

    async fn drain_shard(
        &mut self,
        shard: i16,
        mut pieces: Vec<Piece>,
        stop: &CancellationToken,
    ) -> Result<bool, Halt> {
        let mut published = false;
        for _ in 0..ROUNDS_MAX {
            if pieces.is_empty() {
                break;
            }
            for run in runs(&pieces) {
                let load = self.outbox().await?.load(shard, run).await?;
                self.publish(load, stop).await?;
                published = true;
            }
            pieces = self.outbox().await?.pieces(shard).await?;
        }
        Ok(published)
    }

    /// Sends what is loaded, and takes out what is confirmed.
    async fn publish(&mut self, mut load: Load, stop: &CancellationToken) -> Result<(), Halt> {
        let first = load.batch.first_seq;
        if load.batch.entries.is_empty() {
            let stream = load.batch.stream;
            tracing::error!(%stream, seq = first, "the outbox names a stamp that is not there");
            return Ok(self.outbox().await?.take_out(&load, first + 1).await?);
        }
        let Delivery { size, accepted, .. } = match self.deliver(&load, stop).await {
            Err(Halt::Sink(error)) if error.class() == Class::Reject => {
                self.withhold(&mut load, &error);
                self.deliver(&load, stop).await?
            }
            delivered => delivered?,
        };
        self.shared.published.fetch_add(accepted, Ordering::Relaxed);
        // What was refused is on the topic as a leaf only, which is not what the caller asked for.
        let told = |piece: &&Piece| {
            let seqs = piece.first_seq..piece.next_seq;
            let mut entries = seqs.filter_map(|seq| load.batch.entries.get((seq - first) as usize));
            entries.all(|entry| matches!(entry, Entry::Stamp(_)))
        };
        for piece in load.done(size).filter(told) {
            self.shared.waiters.confirm(piece.id);
        }
        Ok(self.outbox().await?.take_out(&load, size).await?)
    }

    async fn deliver(&mut self, load: &Load, stop: &CancellationToken) -> Result<Delivery, Halt> {
        let too_late = async {
            stop.cancelled().await;
            sleep(LAST_BATCH).await;
        };
        tokio::select! {
            biased;
            delivered = self.sink.deliver(&load.batch) => Ok(delivered?),
            // Abandoned: what the broker took of it, it will be given again.
            () = too_late => Err(Halt::Stop),
        }
    }

    /// Leaves of the stamp that the broker refused nothing but its leaf.
    fn withhold(&self, load: &mut Load, error: &SinkError) {
        let first = load.batch.first_seq;
        let seq = error.seq.unwrap_or(first);
        let Some(entry) = load.batch.entries.get_mut((seq - first) as usize) else { return };
        let stream = load.batch.stream;
        tracing::error!(%stream, seq, %error, "the broker refuses a stamp; its leaf alone goes on");
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        let since = self.config.clock.now();
        *entry = Entry::Withheld { leaf: *entry.leaf(), reason: error.text.clone(), since };
    }

    /// Counts what waits, when that was not done lately.
    async fn look(&mut self) -> Result<(), StoreError> {
        if self.looked.is_some_and(|looked| looked.elapsed() < self.config.sweep) {
            return Ok(());
        }
        let depth = self.outbox().await?.depth().await;
        if depth.is_err() {
            self.outbox = None;
        }
        *lock(&self.shared.depth) = depth?;
        self.looked = Some(Instant::now());
        Ok(())
    }

    async fn outbox(&mut self) -> Result<&mut Outbox, StoreError> {
        if self.outbox.is_none() {
            self.outbox = Some(Outbox::open(&self.address).await?);
        }
        Ok(self.outbox.as_mut().expect("it was just opened"))
    }
}

impl Halt {
    fn to_text(&self) -> String {
        format!("failed to {}", chain(self))
    }
}
