//! The overview: how the agent stands, put together from what its parts show when somebody asks.

use std::net::SocketAddr;
use std::time::Instant;

use super::roster::{Roster, Tracked};
use crate::enrich::Enricher;
use crate::model::status::{
    AgentState, ApiStatus, IntelligenceState, IntelligenceStatus, OnexTreeStatus, ReachState,
    RepoState, RepoStatus, SCHEMA, SinkStatus, SpoolStatus, Status,
};
use crate::spool::{Reader, SpoolError};
use crate::sync;

/// What the agent consists of, as far as it is to be seen.
pub(super) struct Overview {
    pub(super) started: Instant,
    pub(super) roster: Roster,
    pub(super) sinks: Vec<sync::Handle>,
    pub(super) listening: Listening,
    /// Asks the intelligence service, if there is one.
    pub(super) enricher: Option<Enricher>,
    pub(super) reader: Reader,
}

/// Where the agent listens for programs, if it does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Listening {
    /// The stamping API.
    pub(super) api: Option<SocketAddr>,
    /// OnexTree.
    pub(super) onextree: Option<SocketAddr>,
}

impl Overview {
    /// The status now. Reads a few rows of the spool.
    pub(super) fn status(&self) -> Result<Status, SpoolError> {
        let repos = self.repo_statuses()?;
        let sinks: Vec<SinkStatus> = self.sinks.iter().map(sync::Handle::status).collect();
        let totals = self.reader.totals()?;
        Ok(Status {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: state(&repos, &sinks),
            uptime_s: self.started.elapsed().as_secs(),
            repos,
            sinks,
            spool: SpoolStatus { stamps: totals.stamps, bytes: totals.bytes },
            api: self.listening.api.map(|address| self.api_status(address)).transpose()?,
            onextree: self
                .listening
                .onextree
                .map(|address| OnexTreeStatus { listen: address.to_string() }),
            intelligence: self.enricher.as_ref().map(intelligence_status),
            paused: self.roster.paused(),
        })
    }

    fn api_status(&self, address: SocketAddr) -> Result<ApiStatus, SpoolError> {
        let contents = self.reader.contents()?.map_or(0, |totals| totals.contents);
        Ok(ApiStatus { listen: address.to_string(), contents })
    }

    fn repo_statuses(&self) -> Result<Vec<RepoStatus>, SpoolError> {
        let infos = self.reader.repos()?;
        let status = |tracked: &Tracked| {
            let shown = tracked.view.snapshot();
            let info = infos.iter().find(|info| info.id == tracked.repo);
            RepoStatus {
                name: tracked.config.name.clone(),
                path: tracked.config.path.display().to_string(),
                namespace: tracked.config.namespace.clone(),
                state: shown.state,
                reason: shown.reason,
                files: shown.files,
                pending: shown.pending,
                at: shown.at,
                stamps: info.map_or(0, |info| info.stamps),
                last_change: info.and_then(|info| info.last_change),
                coverage: shown.coverage,
            }
        };
        Ok(self.roster.tracked().iter().map(status).collect())
    }
}

fn intelligence_status(enricher: &Enricher) -> IntelligenceStatus {
    let is_degraded = enricher.is_degraded();
    let state = if is_degraded { IntelligenceState::Degraded } else { IntelligenceState::Healthy };
    IntelligenceStatus { state }
}

/// The worst of the parts; a sink that is offline is no part of it.
fn state(repos: &[RepoStatus], sinks: &[SinkStatus]) -> AgentState {
    let of_repo = |repo: &RepoStatus| match repo.state {
        RepoState::Starting => AgentState::Starting,
        RepoState::Watching => AgentState::Healthy,
        RepoState::Degraded | RepoState::Absent => AgentState::Degraded,
    };
    let of_sink = |sink: &SinkStatus| match sink.state {
        ReachState::Parked => AgentState::Parked,
        _ => AgentState::Healthy,
    };
    let parts = repos.iter().map(of_repo).chain(sinks.iter().map(of_sink));
    parts.max().unwrap_or(AgentState::Healthy)
}
