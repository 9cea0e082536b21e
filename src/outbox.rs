//! The publisher: what waits in the outbox goes onto the topic, in order for each key.
//!
//! `drain` moves pieces from the store to the Kafka sink: those that were laid ready when they were
//! committed at once, the others as it reads them, only in shards that no other bridge owns. Which
//! shards are ours, and what may go without being read, is `tenure`'s to say; `press` is the way to
//! the topic; `waiters` tells requests what became of their event.
//!
//! Promises: a row leaves the outbox only after the broker has confirmed it. Away, everything
//! waits. What a broker refuses for its content is told by its leaf alone and stays in the ledger,
//! so that the ones behind it go on. An event can be on the topic twice after a crash, under the
//! same `ce_id`. `published` never says yes to what the broker did not confirm.

mod drain;
mod press;
mod tenure;
mod waiters;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::runtime::clock::Clock;
use crate::sink::kafka;
use crate::store;
use crate::store::address::{Address, AddressError};
use crate::store::outbox::Tray;

pub use crate::store::outbox::Depth;
pub use drain::Drain;
use waiters::Waiters;

/// How long after a failure the road is tried again, at first and at most.
pub const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// How long a record waits for others: a batch comes whole, and somebody may be waiting for it.
const LINGER: Duration = Duration::from_micros(500);

/// What a publisher needs.
#[derive(Clone)]
pub struct Config {
    /// Where the outbox is, as a login of the role `stampd_server`.
    pub database: store::Config,
    /// Where events go.
    pub kafka: kafka::Config,
    /// The wall clock.
    pub clock: Clock,
    /// How long after a failure the road is tried again, at first and at most.
    pub retry: (Duration, Duration),
    /// How often to look for what other bridges left, and how much waits.
    pub sweep: Duration,
    /// The pause after each round, in which events come together. Zero where somebody waits for them.
    pub gather: Duration,
}

impl Config {
    /// The defaults between this database and this topic.
    pub fn new(database: store::Config, kafka: kafka::Config) -> Self {
        Self {
            database,
            kafka: kafka::Config { linger: LINGER, ..kafka },
            clock: Clock::system(),
            retry: RETRY,
            sweep: Duration::from_secs(2),
            gather: Duration::ZERO,
        }
    }
}

/// The road to the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Road {
    /// Not tried yet.
    Unknown,
    /// Events go out.
    Open,
    /// They wait, for this reason.
    Closed(String),
}

/// How the publisher is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The road to the topic.
    pub road: Road,
    /// How much waited when it was last looked at.
    pub depth: Depth,
    /// Events that this process saw confirmed.
    pub published: u64,
    /// Events that the broker refused for their content.
    pub refused: u64,
}

/// A handle to the publisher. Cheap to clone.
#[derive(Clone)]
pub struct Publisher(Arc<Shared>);

/// What the publisher's task and its handles share.
struct Shared {
    /// Filled by whoever puts something into the outbox.
    tray: Arc<Tray>,
    /// Written by the task, read by handles.
    road: Mutex<Road>,
    /// As `road`.
    depth: Mutex<Depth>,
    published: AtomicU64,
    refused: AtomicU64,
    waiters: Waiters,
}

/// Makes a publisher and its task, which must be run; connects to nothing.
pub fn new(config: Config) -> Result<(Publisher, Drain), AddressError> {
    let address = Address::parse(&config.database)?;
    let shared = Arc::new(Shared {
        tray: Arc::default(),
        road: Mutex::new(Road::Unknown),
        depth: Mutex::default(),
        published: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        waiters: Waiters::default(),
    });
    Ok((Publisher(Arc::clone(&shared)), Drain::new(config, address, shared)))
}

impl Publisher {
    /// Where to lay what was put into the outbox.
    pub fn tray(&self) -> Arc<Tray> {
        Arc::clone(&self.0.tray)
    }

    /// Whether the broker has confirmed all of this row of the outbox, as soon as that is known and
    /// at most after `wait`. False also means "not yet", and "by another bridge". Does not wait
    /// while the road is closed.
    pub async fn published(&self, row: i64, wait: Duration) -> bool {
        if *lock(&self.0.road) != Road::Open {
            return self.0.waiters.is_confirmed(row);
        }
        self.0.waiters.confirmed(row, wait).await
    }

    /// How the publisher is doing.
    pub fn status(&self) -> Status {
        Status {
            road: lock(&self.0.road).clone(),
            depth: *lock(&self.0.depth),
            published: self.0.published.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
