//! The agent: wires watching, hashing, the spool and the sinks together.
//!
//! Holds no logic of its own beyond the wiring: one tracker thread per repo finds what changed, one
//! writer thread makes it durable, one task per sink delivers it, and the control socket answers.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::namespace::Namespace;

/// What the agent is built from. Each stage's part is that stage's own `Config`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the spool, its lock and the trust pins lie.
    pub state_dir: PathBuf,
    /// Where the control socket lies.
    pub runtime_dir: PathBuf,
    /// How long a stop may take before it is forced.
    pub shutdown_grace: Duration,
    /// The watched repos.
    pub repos: Vec<RepoConfig>,
    /// Directories of ours that are never watched (state, runtime, logs).
    pub own_dirs: Vec<PathBuf>,
}

/// One watched repo, as the user's config has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoConfig {
    /// Its name in stamps, status and commands; unique.
    pub name: String,
    /// Its root, absolute.
    pub path: PathBuf,
    /// The tenant of its stamps.
    pub namespace: Namespace,
    /// The user's own exclusions, in gitignore syntax; nothing overrides them.
    pub exclude: Vec<String>,
    /// Patterns that un-ignore what the repo's rules ignore.
    pub include: Vec<String>,
    /// Instead of `[hash] max_file_size`, in bytes.
    pub max_file_size: Option<u64>,
}
