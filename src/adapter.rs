//! The adapter: events on Kafka become rows in Postgres.
//!
//! - `route` says which topics are read, and what kind of event each carries; `decode` makes an
//!   operation of a record, or says why there is none; `breaker` says when the database may be
//!   tried, `placement` where a partition is read from. All four are pure;
//! - `consumer` is the thread that reads and writes in turn, `group` its client, which holds as much
//!   as `room` says, `held` the partitions in its hands, `queue` and `batch` what it has read of each
//!   `lane` and not written, `writer` its session;
//! - `answers` are to questions, `letters` puts dead letters onto their topics, `outlet` is the
//!   producer of both;
//! - `road` climbs the ladder to Kafka, for the one line that says why it cannot be reached;
//!   `pending` watches over steps without a workflow; `health` tells how all of it is, by `view` and
//!   `figures`.
//!
//! Promises: each event has its effect once, whatever is killed, stopped, delivered twice or sent
//! again; a record that cannot be taken stops nothing and is kept whole. What an operation does to
//! the rows is `store::operations`'s.

mod answers;
mod batch;
pub mod breaker;
mod consumer;
pub mod decode;
mod figures;
mod group;
pub mod health;
mod held;
mod lane;
pub mod letters;
mod outlet;
mod pending;
pub mod placement;
mod queue;
mod read;
pub mod retry;
pub mod road;
mod room;
pub mod route;
mod view;
mod watch;
mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

pub use self::consumer::ConsumerError;
use self::figures::Figures;
use self::view::View;
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Metrics;
use crate::runtime::port::{self, BindError};
use crate::runtime::supervisor::{Supervisor, SupervisorError};
use crate::runtime::{http, notify};
use crate::sink::kafka;
use crate::store;
use crate::store::address::{Address, AddressError};

/// What an adapter is built from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which topics are read.
    pub topics: route::Topics,
    /// Where they are.
    pub kafka: kafka::Config,
    /// Where the rows go, as a login of the role `stampd_server`.
    pub database: store::Config,
    /// Where health and metrics are served.
    pub http: http::Config,
    /// How records are read.
    pub reading: Reading,
}

/// How records are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The consumer group.
    pub group: String,
    /// How long we may be silent until others take our partitions.
    pub session_timeout: Duration,
    /// Records of one transaction, at most.
    pub batch_rows_max: usize,
    /// How long a record waits for others to share a transaction with.
    pub batch_wait: Duration,
    /// Records held in memory ahead of the database.
    pub fetch_bytes_max: u64,
    /// When the database may be tried.
    pub breaker: breaker::Config,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            group: "database-adapter-effect-group".to_owned(),
            session_timeout: Duration::from_secs(10),
            batch_rows_max: 5_000,
            batch_wait: Duration::from_millis(50),
            fetch_bytes_max: 64 << 20,
            breaker: breaker::Config::default(),
        }
    }
}

/// Why an adapter does not start.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// The database's address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The address for health cannot be listened on.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// The consumer cannot begin.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// A thread could not be started.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
}

/// The names of everything that an adapter counts.
pub fn metric_names() -> BTreeSet<String> {
    let metrics = Metrics::new();
    let _ = Figures::new(&metrics);
    metrics.names()
}

/// What the parts share. Cheap to clone.
#[derive(Clone)]
struct Parts {
    address: Arc<Address>,
    clock: Clock,
    figures: Figures,
    view: Arc<View>,
    /// Rung when something may be wrong with the road to Kafka.
    trouble: Arc<Notify>,
    /// Rung when there are new dead letters.
    letters: Arc<Notify>,
}

impl Parts {
    fn tell_breaker(&self, state: breaker::State) {
        self.view.breaker(state);
        self.figures.breaker(state);
    }
}

/// Starts every part. None of them needs Kafka or the database to be there.
pub async fn start(
    config: &Config,
    clock: Clock,
    supervisor: &mut Supervisor,
) -> Result<(), AdapterError> {
    let metrics = Metrics::new();
    let parts = Parts {
        address: Arc::new(Address::parse(&config.database)?),
        clock,
        figures: Figures::new(&metrics),
        view: Arc::new(View::new()),
        trouble: Arc::default(),
        letters: Arc::default(),
    };
    let listener = port::bind(&config.http.listen, "[adapter] listen").await?;
    if let Ok(address) = listener.local_addr() {
        notify::status(&format!("health at {address}"));
    }
    let stop = supervisor.token();
    let router = health::router(config.reading.group.clone(), metrics, Arc::clone(&parts.view));
    supervisor.spawn("health", http::serve(listener, router, config.http.clone(), stop.clone()));
    let watch = watch::run(config.kafka.clone(), parts.clone(), stop.clone());
    supervisor.spawn("watch over the road", watch);
    supervisor.spawn("watch over steps", pending::run(parts.clone(), stop.clone()));
    let drain = letters::Drain::new(config, &parts).map_err(ConsumerError::from)?;
    supervisor.spawn("dead letters", drain.run(stop.clone()));
    let consumer = consumer::Consumer::new(config.clone(), parts)?;
    supervisor.spawn_thread("consumer", move || consumer.run(&stop))?;
    let token = supervisor.token();
    supervisor.spawn("upkeep", async move {
        notify::ready_when(std::future::ready(())).await;
        notify::accompany(token).await
    });
    Ok(())
}
