//! The publisher's task.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::press::{Lane, Press};
use super::tenure::Tenure;
use super::{Config, Road, Shared, lock};
use crate::runtime::chain::chain;
use crate::sink::SinkError;
use crate::store::StoreError;
use crate::store::address::Address;
use crate::store::outbox::{Answer, Ask, ENTRIES_MAX, Gone, Load, Outbox, Piece, runs};
use crate::sync::backoff::Backoff;

/// How long what is confirmed may stay in the outbox, so that what several batches held is taken out
/// together, beside the next one, and does not stand in its way.
const TIDY_AFTER: Duration = Duration::from_millis(10);
/// How long taking out what is confirmed may take once publishing has ended.
const LAST_ASK: Duration = Duration::from_secs(1);

/// The publisher's task.
pub struct Drain {
    config: Config,
    address: Address,
    shared: Arc<Shared>,
    press: Press,
    /// None before the first connection and after each failure.
    outbox: Option<Outbox>,
    tenure: Tenure,
    /// Confirmed, and still in the outbox.
    gone: Gone,
    /// When that is to be taken out at the latest.
    tidy_at: Option<Instant>,
    looked: Option<Instant>,
    /// Starts over when both roads held for a round.
    backoff: Backoff,
}

/// Why draining ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("publish: stopped")]
    Stop,
}

impl Drain {
    pub(super) fn new(config: Config, address: Address, shared: Arc<Shared>) -> Self {
        let (first, max) = config.retry;
        Self {
            press: Press::new(&config, Arc::clone(&shared)),
            backoff: Backoff::new(first, max),
            outbox: None,
            tenure: Tenure::default(),
            gone: Gone::default(),
            tidy_at: None,
            looked: None,
            config,
            address,
            shared,
        }
    }

    /// Publishes until `stop`.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        while !stop.is_cancelled() {
            let why = self.while_open(&stop).await;
            if !stop.is_cancelled() {
                self.turn(Road::Closed(why));
            }
            self.shared.waiters.disappoint();
            self.press.close().await;
            let wait = self.backoff.next(Uuid::new_v4().as_u128() as u32);
            self.rest(wait, &stop).await;
        }
        Ok(())
    }

    /// Publishes as long as that is possible; returns why it is not.
    async fn while_open(&mut self, stop: &CancellationToken) -> String {
        match stop.run_until_cancelled(self.press.probe()).await {
            None => Halt::Stop.to_text(),
            Some(Err(rung)) => rung.text,
            Some(Ok(())) => {
                let halt = self.drain(stop).await;
                self.let_go().await;
                halt.to_text()
            }
        }
    }

    /// Takes out what is confirmed, if that is possible yet, and gives up every shard.
    async fn let_go(&mut self) {
        let ask = Ask { gone: std::mem::take(&mut self.gone), ..Ask::default() };
        if let Some(outbox) = &mut self.outbox
            && !ask.gone.is_empty()
        {
            // What stays in the outbox is sent again, under the same identity.
            let _ = timeout(LAST_ASK, outbox.exchange(&ask)).await;
        }
        self.tidy_at = None;
        // The locks go with the session.
        self.outbox = None;
        self.tenure.begin_anew();
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
            // It will be read when its time comes.
            self.tenure.note(self.shared.tray.take().all_shards());
            // The database may be what is away: then the depth is as it was.
            let _ = self.look().await;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                // Whoever stamps found the database again: no need to sit out the rest.
                () = self.shared.tray.returned() => return,
                () = sleep(left.min(self.config.sweep)) => {}
            }
        }
    }

    /// Publishes until something fails.
    async fn drain(&mut self, stop: &CancellationToken) -> Halt {
        loop {
            if stop.is_cancelled() {
                return Halt::Stop;
            }
            match self.round(stop).await {
                Err(halt) => return halt,
                Ok(true) => {
                    gather(self.config.gather, stop).await;
                    continue;
                }
                Ok(false) => {}
            }
            let look_at = self.looked.map_or_else(Instant::now, |at| at + self.config.sweep);
            let wakes = [self.tenure.wakes_at(), self.tidy_at];
            let due = wakes.into_iter().flatten().fold(look_at, Instant::min);
            // All three are cancel-safe.
            tokio::select! {
                () = stop.cancelled() => return Halt::Stop,
                () = self.shared.tray.rung() => {}
                () = sleep_until(due.into()) => {}
            }
        }
    }

    /// Sends what was laid ready while the database does what is to be done, then what is to be read;
    /// whether there was anything.
    async fn round(&mut self, stop: &CancellationToken) -> Result<bool, Halt> {
        self.look().await?;
        // Open is what leads from the one to the other: both have answered.
        self.turn(Road::Open);
        let mut lanes = self.laid();
        let now = Instant::now();
        let tidy = self.tidy_at.is_some_and(|at| at <= now);
        let ask = self.tenure.ask(&mut self.gone, tidy, now);
        if ask.is_some() {
            self.tidy_at = None;
        }
        if lanes.is_empty() && ask.is_none() {
            self.backoff.reset();
            return Ok(false);
        }
        self.connect().await?;
        let outbox = self.outbox.as_mut().expect("it was just connected");
        let (sent, told) =
            tokio::join!(self.press.send(&mut lanes, stop), exchange(outbox, ask.as_ref()));
        self.settle(&lanes);
        let pieces = match ask {
            Some(ask) => self.tenure.told(&ask, told?, Instant::now()),
            None => Vec::new(),
        };
        sent?;
        self.publish(pieces, stop).await?;
        self.backoff.reset();
        Ok(true)
    }

    /// What was laid ready and may go as it is, each stream once.
    fn laid(&mut self) -> Vec<Lane> {
        let laid = self.shared.tray.take();
        self.tenure.note(laid.shards);
        let now = Instant::now();
        let mut loads: Vec<Load> = Vec::new();
        for load in laid.loads {
            let Some(load) = self.tenure.admit(load, now) else { continue };
            match loads.iter_mut().find(|before| before.batch.stream == load.batch.stream) {
                Some(before) => before.append(load),
                None => loads.push(load),
            }
        }
        loads.into_iter().map(Lane::new).collect()
    }

    /// Reads pieces and sends them, as many as go at once; the others have their turn afterwards.
    async fn publish(&mut self, pieces: Vec<Piece>, stop: &CancellationToken) -> Result<(), Halt> {
        if pieces.is_empty() {
            return Ok(());
        }
        let mut runs = runs(&pieces);
        for run in runs.split_off(at_once(&runs)) {
            self.tenure.note(run[0].shard());
        }
        let outbox = self.outbox.as_mut().expect("the pieces come from it");
        let loads = outbox.load(runs).await?;
        let mut lanes: Vec<Lane> = loads.into_iter().map(Lane::new).collect();
        let sent = self.press.send(&mut lanes, stop).await;
        self.settle(&lanes);
        sent
    }

    /// Notes how far lanes have come.
    fn settle(&mut self, lanes: &[Lane]) {
        let now = Instant::now();
        for lane in lanes {
            lane.note_gone(&mut self.gone);
            if lane.is_whole() {
                self.tenure.went(lane.stream(), lane.done(), now);
            } else {
                self.tenure.fell_short(lane.stream());
            }
        }
        if !self.gone.is_empty() {
            self.tidy_at.get_or_insert(now + TIDY_AFTER);
        }
    }

    /// Counts what waits, and looks for what others left, when that was not done lately.
    async fn look(&mut self) -> Result<(), StoreError> {
        if self.looked.is_some_and(|looked| looked.elapsed() < self.config.sweep) {
            return Ok(());
        }
        self.connect().await?;
        let outbox = self.outbox.as_mut().expect("it was just connected");
        let looked = outbox.look(self.config.sweep).await;
        if looked.is_err() {
            self.outbox = None;
            self.tenure.begin_anew();
        }
        let (depth, left) = looked?;
        self.tenure.note(left);
        *lock(&self.shared.depth) = depth;
        self.looked = Some(Instant::now());
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), StoreError> {
        if self.outbox.is_none() {
            self.outbox = Some(Outbox::open(&self.address).await?);
        }
        Ok(())
    }
}

/// Lets events come together, where nobody waits for them.
async fn gather(pause: Duration, stop: &CancellationToken) {
    // The timer's least is a millisecond, too long for who waits.
    if !pause.is_zero() {
        stop.run_until_cancelled(sleep(pause)).await;
    }
}

/// How many of the runs are sent together: as many as a batch holds, and the first in any case.
fn at_once(runs: &[Vec<Piece>]) -> usize {
    let mut entries = 0;
    let fits = |run: &&Vec<Piece>| {
        entries += run[run.len() - 1].next_seq - run[0].first_seq;
        entries <= ENTRIES_MAX
    };
    runs.iter().take_while(fits).count().max(1)
}

async fn exchange(outbox: &mut Outbox, ask: Option<&Ask>) -> Result<Answer, StoreError> {
    match ask {
        Some(ask) => outbox.exchange(ask).await,
        None => Ok(Answer::default()),
    }
}

impl Halt {
    fn to_text(&self) -> String {
        format!("failed to {}", chain(self))
    }
}
