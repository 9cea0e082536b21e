//! Sync: one task per sink that delivers every stream to it, in order, until all of it is confirmed.
//!
//! Promises: a cursor moves only over what the receiver says it holds; a failure of one sink never
//! delays another; a closed road costs a timer, not a loop; a stamp that a sink will never take is
//! set aside alone, and its leaf goes on without its body.
//!
//! What goes next is [`plan`]'s decision, when it may go is [`reach`]'s, how long to wait
//! [`backoff`]'s: pure policy. This module reads the spool, asks the sink and does what they say.

mod ahead;
mod answer;
pub mod backoff;
mod complaint;
mod courier;
mod handle;
mod network;
pub mod plan;
pub mod probe;
pub mod reach;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::courier::Courier;
use self::handle::Inbox;
pub use self::handle::{Handle, Refusal, spooled};
use crate::runtime::clock::Clock;
use crate::sink::Sink;
use crate::spool::{Spool, SpoolError};

/// How one sink is delivered to.
#[derive(Clone, Debug)]
pub struct Config {
    /// How patient to be with the road.
    pub reach: reach::Config,
    /// The most stamps in a batch.
    pub batch_rows_max: u64,
    /// The most stamps in the first batch on a road that has just opened.
    pub batch_rows_small: u64,
    /// The most bytes of bodies in a batch; one body may be larger.
    pub batch_bytes_max: usize,
    /// How long a sink's own rungs may take to climb.
    pub probe_timeout: Duration,
    /// How long a delivery may take before it is abandoned.
    pub deliver_timeout: Duration,
    /// After how long without stamps the connection is let go of.
    pub idle_close: Duration,
    /// How long a batch under way may go on, and a sink may take to close, once the agent stops.
    pub close_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reach: reach::Config::default(),
            batch_rows_max: 5_000,
            batch_rows_small: 100,
            batch_bytes_max: 4 << 20,
            probe_timeout: Duration::from_secs(20),
            deliver_timeout: Duration::from_secs(90),
            idle_close: Duration::from_mins(1),
            close_grace: Duration::from_secs(1),
        }
    }
}

/// Makes the task that delivers to a sink until `stop`, and the handle to it.
///
/// The task fails when the spool does. What a sink does never ends it.
pub fn new<S: Sink>(
    sink: S,
    spool: Spool,
    config: Config,
    clock: Clock,
    stop: CancellationToken,
) -> (Handle, impl Future<Output = Result<(), SpoolError>> + Send + 'static) {
    let (handle, inbox) = handle::pair(sink.name(), &spool);
    (handle, run(sink, spool, config, inbox, clock, stop))
}

async fn run<S: Sink>(
    sink: S,
    spool: Spool,
    config: Config,
    inbox: Inbox,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), SpoolError> {
    let mut courier = Courier::new(sink, spool, config, inbox, clock).await?;
    let outcome = courier.work(&stop).await;
    courier.close().await;
    outcome
}
