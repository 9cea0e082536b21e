//! The desk: where the stamping API brings its orders, and asks for what is held.
//!
//! A writer takes whatever orders are waiting (`queue`) into one transaction (`group`), so many callers
//! share a commit and a caller who is alone waits for nobody. It gives the stamps their seqs in a stream of
//! its own, which it opens when it connects. There are two, so that one prepares a transaction while
//! the other's is written to the disk. Reads go through a pool.
//!
//! Promises: an order is answered only after its commit is on disk, or after the row that was there
//! before was read. Of the same order any number of times, by any number of desks, one makes a row,
//! a stamp and an event. A connection that is lost during a commit is resolved by looking what
//! became of it. While Postgres is away every order is refused within a second, and the first one
//! after it is back is taken. A connection that takes longer than that goes on meanwhile, so that a
//! slow road is one in the end.
//!
//! The event goes into the outbox in the same transaction; to publish it is left to `outbox`.

mod group;
mod line;
mod opening;
mod outage;
mod queue;
mod reads;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::address::{Address, AddressError};
use super::error::StoreError;
use super::outbox::Tray;
use super::pool::{Pool, Usage};
use crate::model::content::{Order, Row, Stamped};
use crate::model::digest::Digest;
use crate::model::namespace::Namespace;
use crate::model::stamp::Agent;
use crate::runtime::clock::Clock;

use queue::Queue;

pub use writer::Writer;

/// How long a caller waits for a connection: with the failure it must fit into a second. What was
/// begun goes on without the caller.
const CONNECT_MAX: Duration = Duration::from_millis(700);
/// How long the network may owe us an acknowledgement. A slow server's machine still gives them.
const SILENCE_MAX: Duration = Duration::from_millis(800);

/// About how many orders a transaction takes; a caller who brings more gets several, side by side.
const PIECE_MAX: usize = 250;

/// What a desk needs.
#[derive(Clone)]
pub struct Config {
    /// Where the record is, as a login of the role `stampd_server`. Its timeouts of statements are not
    /// used: a caller is waiting.
    pub database: super::Config,
    /// Who stamps.
    pub agent: Agent,
    /// The tenant of the stream's own stamps.
    pub namespace: Namespace,
    /// Where to lay what was put into the outbox; none when events go nowhere.
    pub outbox: Option<Arc<Tray>>,
    /// The wall clock.
    pub clock: Clock,
    /// How long a caller waits at most.
    pub patience: Duration,
    /// Callers that may wait for the writer; the next ones wait for a place, within `patience`.
    pub queue_max: usize,
    /// Transactions that are under way at once, each in a session of its own.
    pub writers: usize,
    /// Sessions for reading.
    pub readers_max: usize,
}

impl Config {
    /// The defaults for this database, stamping as this agent.
    pub fn new(database: super::Config, agent: Agent, namespace: Namespace) -> Self {
        Self {
            database,
            agent,
            namespace,
            outbox: None,
            clock: Clock::system(),
            patience: Duration::from_secs(5),
            queue_max: 1_024,
            writers: 2,
            readers_max: 8,
        }
    }
}

/// Why an order was not taken although the database is there: its data is at fault.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("stamp the content: {reason}")]
pub struct Refused {
    /// The SQLSTATE.
    pub code: String,
    /// What the database says of it.
    pub reason: String,
}

/// A caller's orders, and where the answers go.
struct Job {
    orders: Vec<Order>,
    reply: oneshot::Sender<Result<Vec<Result<Stamped, Refused>>, StoreError>>,
}

/// Where orders are brought. Cheap to clone; the writers end when the last one is dropped.
#[derive(Clone)]
pub struct Desk {
    jobs: mpsc::Sender<Job>,
    reads: Pool,
    patience: Duration,
}

/// Makes a desk and its writers, which must be run; connects to nothing.
pub fn open(config: &Config) -> Result<(Desk, Vec<Writer>), AddressError> {
    let database = super::Config {
        statement_timeout: Some(config.patience),
        lock_timeout: config.patience,
        ..config.database.clone()
    };
    let mut address = Address::parse(&database)?;
    address.client.tcp_user_timeout(SILENCE_MAX);
    let (jobs, queue) = mpsc::channel(config.queue_max);
    let patience = config.patience;
    let (reads, carrier) = Pool::hasty(address.clone(), config.readers_max, patience, CONNECT_MAX);
    let mut writers = Writer::several(config, &address, Queue::new(queue, config.writers));
    if let Some(writer) = writers.first_mut() {
        writer.carries(carrier);
    }
    Ok((Desk { jobs, reads, patience }, writers))
}

impl Desk {
    /// Stamps contents, durable when this returns; the answers are in the order of the orders.
    ///
    /// An error is of all or of some: bringing the same orders again is right in any case.
    pub async fn stamp(
        &self,
        orders: Vec<Order>,
    ) -> Result<Vec<Result<Stamped, Refused>>, StoreError> {
        let answered = timeout(self.patience, self.bring(orders)).await;
        answered.unwrap_or(Err(StoreError::Timeout(self.patience)))
    }

    async fn bring(
        &self,
        mut orders: Vec<Order>,
    ) -> Result<Vec<Result<Stamped, Refused>>, StoreError> {
        let mut answers = Vec::with_capacity(orders.len());
        let mut awaited = Vec::with_capacity(orders.len().div_ceil(PIECE_MAX));
        while !orders.is_empty() {
            let rest = orders.split_off(orders.len().min(PIECE_MAX));
            let (reply, answer) = oneshot::channel();
            let job = Job { orders: std::mem::replace(&mut orders, rest), reply };
            self.jobs.send(job).await.map_err(|_| StoreError::Stopped)?;
            awaited.push(answer);
        }
        for answer in awaited {
            answers.extend(answer.await.unwrap_or(Err(StoreError::Stopped))?);
        }
        Ok(answers)
    }

    /// The rows of a content, newest first; of one namespace and one path where they are given.
    pub async fn find(
        &self,
        digest: &Digest,
        namespace: Option<&str>,
        path: Option<&str>,
    ) -> Result<Vec<Row>, StoreError> {
        reads::find(&self.reads, digest, namespace, path).await
    }

    /// How many rows a namespace has, and a page of them, newest first.
    pub async fn page(
        &self,
        namespace: &str,
        limit: u32,
        offset: u64,
    ) -> Result<(u64, Vec<Row>), StoreError> {
        reads::page(&self.reads, namespace, limit, offset).await
    }

    /// Whether the database answers, and in what time.
    pub async fn ping(&self) -> Result<Duration, StoreError> {
        let asked = Instant::now();
        self.reads.query("SELECT 1", &[]).await?;
        Ok(asked.elapsed())
    }

    /// How many sessions for reading there are.
    pub fn usage(&self) -> Usage {
        self.reads.usage()
    }
}
