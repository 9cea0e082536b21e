//! The adapter: events on Kafka become rows in Postgres.
//!
//! - `route` says which topics are read, and what kind of event each carries;
//! - `decode` makes an operation of a record, or says why there is none;
//! - `breaker` says when the database may be tried;
//! - `road` climbs the ladder to Kafka, for the one line that says why it cannot be reached.
//!
//! **Invariant**: the first three are pure. What an operation does to the rows is
//! `store::operations`'s.

pub mod breaker;
pub mod decode;
pub mod road;
pub mod route;

use std::time::Duration;

use crate::runtime::http;
use crate::sink::kafka;
use crate::store;

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
