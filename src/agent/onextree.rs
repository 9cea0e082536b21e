//! OnexTree on the agent: the routes over the index of the repos that it watches.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::AgentError;
use super::api::warn_of_open_door;
use super::roster::{Roster, Tracked};
use crate::onextree::{self, Config, Repo, State};
use crate::runtime::http::{self, Bearer};
use crate::runtime::metrics::Metrics;
use crate::runtime::port;
use crate::runtime::supervisor::Supervisor;
use crate::spool::Spool;

/// Starts OnexTree, and says where it listens.
pub(super) fn start(
    config: &Config,
    roster: &Roster,
    spool: &Spool,
    metrics: &Metrics,
    supervisor: &mut Supervisor,
) -> Result<SocketAddr, AgentError> {
    let listener =
        Handle::current().block_on(port::bind(&config.http.listen, "[onextree] listen"))?;
    let address = listener.local_addr().expect("a listener that is bound has an address");
    let roster = roster.clone();
    let repos = Arc::new(move || roster.tracked().iter().map(told).collect());
    let mut state = State::new(repos, spool.reader()?, metrics);
    if let Some(token) = &config.token {
        state = state.guarded(Bearer::open(token.clone())?);
    }
    let served =
        http::serve(listener, onextree::router(state), config.http.clone(), supervisor.token());
    supervisor.spawn("onextree", served);
    warn_of_open_door("[onextree]", config.token.is_none(), address);
    tracing::info!(%address, "OnexTree listens");
    Ok(address)
}

fn told(tracked: &Tracked) -> Repo {
    let view = tracked.view.clone();
    Repo {
        name: tracked.config.name.clone(),
        root: tracked.config.path.clone(),
        id: tracked.repo,
        seen: Arc::new(move || view.snapshot().state),
    }
}
