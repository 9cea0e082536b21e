//! The stamping API on the agent: the bridge's routes, answered from the spool with no server at hand.
//!
//! What is stamped here goes to every sink like any other stamp. Nothing is published before the
//! reply, and no reply says so. A stop lets running requests end, and the writer outlives them, since
//! the routes hold a handle of the spool.

use std::net::SocketAddr;

use tokio::runtime::Handle;

use super::AgentError;
use crate::api::{self, Backend};
use crate::enrich::Enricher;
use crate::runtime::clock::Clock;
use crate::runtime::http::{self, Bearer};
use crate::runtime::metrics::Metrics;
use crate::runtime::port;
use crate::runtime::secret::Secret;
use crate::runtime::supervisor::Supervisor;
use crate::spool::Spool;

/// Where the API listens, and whom it answers.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The listener.
    pub http: http::Config,
    /// What callers must know, if anything.
    pub token: Option<Secret>,
}

/// Starts the API, and says where it listens.
pub(super) fn start(
    config: &Config,
    spool: &Spool,
    clock: &Clock,
    metrics: &Metrics,
    enricher: Option<Enricher>,
    supervisor: &mut Supervisor,
) -> Result<SocketAddr, AgentError> {
    let listener = Handle::current().block_on(port::bind(&config.http.listen, "[api] listen"))?;
    let address = listener.local_addr().expect("a listener that is bound has an address");
    let backend = Backend::Spool(spool.contents()?);
    let mut state = api::State::new(backend, metrics, clock.clone());
    if let Some(enricher) = enricher {
        state = state.enriching(enricher);
    }
    if let Some(token) = &config.token {
        state = state.guarded(Bearer::open(token.clone())?);
    }
    let routes = api::Stamping::new(state);
    let http = http::Config { refuse: api::refuse, ..config.http.clone() };
    supervisor.spawn("stamping API", http::serve(listener, routes, http, supervisor.token()));
    warn_of_open_door("[api]", config.token.is_none(), address);
    tracing::info!(%address, "the stamping API listens");
    Ok(address)
}

/// Says at every start that a section leaves its door open to more than this machine.
pub(super) fn warn_of_open_door(section: &str, open: bool, address: SocketAddr) {
    if open && !address.ip().is_loopback() {
        tracing::warn!(%address, "everybody who reaches this address is answered: {section} auth is none");
    }
}
