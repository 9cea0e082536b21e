//! The agent's figures, for whoever watches many of them: told at `/metrics` of the stamping API and of
//! OnexTree, beside what those count themselves.
//!
//! They are looked at when somebody asks. An agent that nobody watches wakes up for none of them.

mod repos;
mod sinks;

use std::sync::{Mutex, PoisonError};

use self::repos::Repos;
use self::sinks::Sinks;
use super::overview::Overview;
use crate::model::status::AgentState;
use crate::runtime::chain::chain;
use crate::runtime::clock::Clock;
use crate::runtime::metrics::{Gauge, Gauges, Metrics, number};
use crate::spool::{self, SpoolError};
use crate::watch::limit;

/// Tells the figures wherever `metrics` are told.
pub(super) fn start(overview: Overview, spool: &spool::Config, clock: &Clock, metrics: &Metrics) {
    let figures = Figures::new(metrics);
    figures.spool_bytes_max.set(number(spool.max_bytes));
    let clock = clock.clone();
    // Locked, since a reader of the spool is of one thread at a time.
    let overview = Mutex::new(overview);
    metrics.look_before(move || {
        let overview = overview.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = figures.set(&overview, &clock) {
            // What could not be read is missing, and not what it was.
            tracing::warn!(error = %chain(&error), "figures are missing");
        }
    });
}

/// Registers everything in a registry that nobody reads, for its names.
pub(super) fn register(metrics: &Metrics) {
    let _ = Figures::new(metrics);
}

struct Figures {
    state: Gauges<1>,
    watches_max: Gauge,
    spool_bytes: Gauge,
    spool_bytes_max: Gauge,
    repos: Repos,
    sinks: Sinks,
}

impl Figures {
    fn new(metrics: &Metrics) -> Self {
        Self {
            state: metrics.gauges(
                "stampd_agent_state",
                "1 for the state that the agent is in, as `stampd status` says it.",
                ["state"],
            ),
            watches_max: metrics.gauge(
                "stampd_watch_directories_max",
                "Watches that the kernel allows this user; 0 where it says none.",
            ),
            spool_bytes: metrics
                .gauge("stampd_spool_bytes", "Bytes of the spool and its write-ahead log."),
            spool_bytes_max: metrics.gauge(
                "stampd_spool_bytes_max",
                "Bytes from which on the spool takes no more stamps.",
            ),
            repos: Repos::new(metrics),
            sinks: Sinks::new(metrics),
        }
    }

    fn set(&self, overview: &Overview, clock: &Clock) -> Result<(), SpoolError> {
        self.repos.clear();
        self.sinks.clear();
        let status = overview.status()?;
        for state in AgentState::ALL {
            self.state.of([state.as_str()]).set(f64::from(state == status.state));
        }
        self.watches_max.set(number(limit::allowed().unwrap_or(0)));
        self.spool_bytes.set(number(status.spool.bytes));
        self.repos.set(&status.repos, &overview.roster);
        self.sinks.set(&status.sinks, clock.now());
        let streams = overview.reader.streams()?;
        for tracked in overview.roster.tracked() {
            // The newest: of those before it nothing is to come.
            let of_repo = streams.iter().filter(|head| head.repo == tracked.repo);
            let Some(head) = of_repo.max_by_key(|head| head.epoch) else { continue };
            self.repos.reached(&tracked.config.name, head.size);
            for sink in &overview.sinks {
                let confirmed = overview.reader.cursor(sink.name(), head.stream)?;
                self.sinks.reached(sink.name(), &tracked.config.name, confirmed);
            }
        }
        Ok(())
    }
}
