//! What `stampd status` tells, as the JSON that is pinned for programs.

use serde::{Deserialize, Serialize};

use super::namespace::Namespace;
use crate::runtime::time::Timestamp;

/// The name of this JSON's schema.
pub const SCHEMA: &str = "stampd.status/v1";

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// stampd's version.
    pub version: String,
    /// The worst of the parts.
    pub state: AgentState,
    /// Seconds since the agent started.
    pub uptime_s: u64,
    /// Every configured repo.
    pub repos: Vec<RepoStatus>,
    /// Every sink that has a section in the config.
    pub sinks: Vec<SinkStatus>,
    /// The spool.
    pub spool: SpoolStatus,
    /// The stamping API, where it is switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiStatus>,
    /// OnexTree, where it is switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onextree: Option<OnexTreeStatus>,
    /// The intelligence service, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intelligence: Option<IntelligenceStatus>,
    /// The pause, while there is one: no repo is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
}

/// A pause that a person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it began.
    pub since: Timestamp,
    /// When it ends by itself, if it does.
    pub until: Option<Timestamp>,
}

/// The state of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// All is well; a sink offline is well.
    Healthy,
    /// Some repo is not fully seen.
    Degraded,
    /// A sink needs a person.
    Parked,
    /// The first comparison with the disk is not done yet.
    Starting,
}

impl AgentState {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Parked, Self::Starting];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Parked => "parked",
            Self::Starting => "starting",
        }
    }
}

/// One repo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RepoStatus {
    /// Its name.
    pub name: String,
    /// Its root.
    pub path: String,
    /// Its tenant.
    pub namespace: Namespace,
    /// Whether we see it.
    pub state: RepoState,
    /// Why not, and what to do.
    pub reason: Option<String>,
    /// Files in the index.
    pub files: u64,
    /// Paths seen but not yet durable.
    pub pending: u64,
    /// The path that is read next, where one waits: as text, with what is no UTF-8 replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Stamps in its streams.
    pub stamps: u64,
    /// When the newest stamp of a path was taken.
    pub last_change: Option<Timestamp>,
    /// How much of it is seen.
    pub coverage: Coverage,
}

/// Whether we see a repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepoState {
    /// The first comparison with the disk is not done yet.
    Starting,
    /// Every directory is armed.
    Watching,
    /// Some of it is seen only by polling, or not at all for now.
    Degraded,
    /// The root is not there.
    Absent,
}

impl RepoState {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Watching, Self::Degraded, Self::Absent];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Watching => "watching",
            Self::Degraded => "degraded",
            Self::Absent => "absent",
        }
    }
}

/// How much of a repo is seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Directories with a watch.
    pub directories_watched: u64,
    /// Directories that are polled for want of a watch.
    pub directories_polled: u64,
    /// Entries that exclusion rules keep out, as the last walk counted them.
    pub excluded: u64,
    /// Paths that could not be read.
    pub unreadable: u64,
}

/// One sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// `postgres`, `kafka` or `bridge`.
    pub name: String,
    /// The state of the road.
    pub state: ReachState,
    /// Stamps it has not confirmed yet.
    pub queued: u64,
    /// When the oldest of those was taken.
    pub oldest: Option<Timestamp>,
    /// When the newest confirmed stamp was taken.
    pub confirmed_at: Option<Timestamp>,
    /// The rung that fails, and what to do.
    pub reason: Option<String>,
    /// Stamps it will never accept.
    pub dead_letters: u64,
}

/// The state of the road to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReachState {
    /// Switched off.
    Disabled,
    /// No road; probed with backoff.
    Offline,
    /// Climbing the ladder.
    Probing,
    /// The road is open; one small batch goes first.
    HalfOpen,
    /// Delivering.
    Online,
    /// Delivering with errors.
    Degraded,
    /// A person is needed.
    Parked,
}

impl ReachState {
    /// Every one of them.
    pub const ALL: [Self; 7] = [
        Self::Disabled,
        Self::Offline,
        Self::Probing,
        Self::HalfOpen,
        Self::Online,
        Self::Degraded,
        Self::Parked,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Offline => "offline",
            Self::Probing => "probing",
            Self::HalfOpen => "half_open",
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Parked => "parked",
        }
    }
}

/// The stamping API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiStatus {
    /// The address it listens on.
    pub listen: String,
    /// Contents that were stamped through it, ever.
    pub contents: u64,
}

/// OnexTree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnexTreeStatus {
    /// The address it listens on.
    pub listen: String,
}

/// The intelligence service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntelligenceStatus {
    /// Whether it answered when it was last asked.
    pub state: IntelligenceState,
}

/// The state of the intelligence service. No stamp depends on it, and the agent's own state neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntelligenceState {
    /// It answers, as far as it was asked.
    Healthy,
    /// It does not: stamps go without it.
    Degraded,
}

/// The spool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// Stamps in all streams.
    pub stamps: u64,
    /// Bytes of the file and its log.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_has_the_same_word_everywhere() {
        let check = |word: &str, told: serde_json::Value| assert_eq!(told, word);
        for state in AgentState::ALL {
            check(state.as_str(), json!(state));
        }
        for state in RepoState::ALL {
            check(state.as_str(), json!(state));
        }
        for state in ReachState::ALL {
            check(state.as_str(), json!(state));
        }
    }
}
