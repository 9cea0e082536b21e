//! The agent: wires watching, hashing, the spool and the sinks together.
//!
//! Holds no logic of its own beyond the wiring: one tracker thread per repo finds what changed, one
//! writer thread makes it durable, one task per sink delivers it, the control socket answers, and so
//! do the stamping API and OnexTree.
//! The order of a stop follows from who owns what: trackers stop first and drop their handles of
//! the spool, requests end and drop theirs, sinks abandon their batch and drop theirs, and the writer ends with the last handle.

mod answers;
pub mod api;
mod coverage;
mod greeting;
mod onextree;
mod tracker;
mod upkeep;
pub mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use self::answers::{Answers, Listening};
use self::tracker::{Command, Mailbox, Parts, Tracker};
use self::view::View;
use crate::control::{self, ControlError};
use crate::hash::{self, HashError, Hasher};
use crate::model::namespace::Namespace;
use crate::repo::policy::User;
use crate::repo::trust::Store;
use crate::runtime::clock::Clock;
use crate::runtime::http::BindError;
use crate::runtime::secret::SecretError;
use crate::runtime::supervisor::{Supervisor, SupervisorError};
use crate::sink::{bridge, kafka, postgres};
use crate::spool::{self, RepoSpec, Spool, SpoolError};
use crate::{onextree as tree, store, sync, watch};

/// Where the agent lives, and what it watches.
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

/// What the agent is built from: each stage's part is that stage's own `Config`.
#[derive(Clone, Debug)]
pub struct Stages {
    /// Where it lives.
    pub agent: Config,
    /// How repos are watched.
    pub watch: watch::Config,
    /// How files are read.
    pub hash: hash::Config,
    /// Where the spool lies.
    pub spool: spool::Config,
    /// How sinks are fed.
    pub sync: sync::Config,
    /// The database, if stamps go there.
    pub postgres: Option<store::Config>,
    /// The topic, if stamps go there.
    pub kafka: Option<kafka::Config>,
    /// The bridge, if stamps go there.
    pub bridge: Option<bridge::Config>,
    /// The stamping API, if it is switched on.
    pub api: Option<api::Config>,
    /// OnexTree, if it is switched on.
    pub onextree: Option<tree::Config>,
    /// Whether the first stamps are shown on stderr, for a person who starts the agent by hand.
    pub greet: bool,
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

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The spool cannot be opened, or another agent has it.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The control socket cannot be served.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A thread cannot be started.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The address of the database is not usable.
    #[error(transparent)]
    Postgres(#[from] store::address::AddressError),
    /// The address of the bridge is not usable.
    #[error(transparent)]
    Bridge(#[from] bridge::BridgeError),
    /// The threads that read files cannot be started.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The stamping API or OnexTree cannot be listened for.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// The token of the stamping API or of OnexTree cannot be had.
    #[error("read the token that callers must bring ([api] token, [onextree] token)")]
    Token(#[from] SecretError),
}

/// What the user's config says of one repo, and allows the repo's own config to say.
pub fn user(repo: &RepoConfig, watch: &watch::Config, max_file_size: u64) -> User {
    User {
        name: repo.name.clone(),
        settle: watch.settle.clone(),
        exclude: repo.exclude.clone(),
        include: repo.include.clone(),
        max_file_size: repo.max_file_size.unwrap_or(max_file_size),
    }
}

/// A repo as the rest of the agent knows it.
#[derive(Clone)]
struct Tracked {
    config: RepoConfig,
    repo: spool::RepoId,
    mailbox: Mailbox,
    view: View,
}

/// Starts every part of the agent under `supervisor`, which is then to be run.
///
/// # Errors
/// When a part cannot start. What was started before is stopped with the supervisor.
pub fn start(
    stages: &Stages,
    clock: &Clock,
    supervisor: &mut Supervisor,
) -> Result<(), AgentError> {
    let started = Instant::now();
    raise_file_limit();
    let (spool, writer) = spool::open(stages.spool.clone(), seed(), clock.clone())?;
    supervisor.spawn_thread("spool writer", || writer.run())?;
    let listener = control::Listener::bind(&stages.agent.runtime_dir)?;
    let repos = start_trackers(stages, clock, &spool, supervisor)?;
    let sinks = start_sinks(stages, clock, &spool, supervisor)?;
    upkeep::start(&repos, &spool, clock, supervisor);
    if stages.greet {
        greeting::start(&repos, &spool, supervisor)?;
    }
    let api = stages.api.as_ref().map(|api| api::start(api, &spool, clock, supervisor));
    let api = api.transpose()?;
    let onextree = stages.onextree.as_ref();
    let onextree = onextree.map(|config| onextree::start(config, &repos, &spool, supervisor));
    let onextree = onextree.transpose()?;
    let listening = Listening { api, onextree };
    let answers = Answers { started, repos, sinks, listening, reader: spool.reader()?, spool };
    answers::start(answers, listener, supervisor);
    Ok(())
}

fn seed() -> spool::Seed {
    // Without a machine id a restored backup on another machine is told by its inode alone.
    let machine_id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    spool::Seed {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        version: crate::VERSION.to_owned(),
        machine_id: machine_id.trim().to_owned(),
    }
}

/// A walk opens hundreds of directories at a time, and each repo keeps some descriptors for good.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

fn start_trackers(
    stages: &Stages,
    clock: &Clock,
    spool: &Spool,
    supervisor: &mut Supervisor,
) -> Result<Vec<Tracked>, AgentError> {
    let hasher = Hasher::new(stages.hash.clone())?;
    let mut tracked = Vec::with_capacity(stages.agent.repos.len());
    for repo_config in &stages.agent.repos {
        let spec = RepoSpec {
            name: repo_config.name.clone(),
            root: repo_config.path.clone(),
            namespace: repo_config.namespace.clone(),
            labels: std::collections::BTreeMap::new(),
            git: None,
        };
        let repo = spool.open_repo(spec)?;
        let view = View::default();
        let id = repo.id();
        let (tracker, mailbox) = Tracker::new(Parts {
            config: repo_config.clone(),
            user: user(repo_config, &stages.watch, stages.hash.max_file_size),
            watch: stages.watch.clone(),
            reader: spool.reader()?,
            repo,
            hasher: hasher.clone(),
            clock: clock.clone(),
            view: view.clone(),
            trust: Store::new(&stages.agent.state_dir),
            left_out: left_out(&stages.agent, repo_config),
            stop: Arc::new(AtomicBool::new(false)),
            #[cfg(test)]
            on_watch: None,
        });
        supervisor.spawn_thread(format!("repo {}", repo_config.name), || tracker.run())?;
        tracked.push(Tracked { config: repo_config.clone(), repo: id, mailbox, view });
    }
    stop_trackers_with(supervisor, &tracked);
    Ok(tracked)
}

/// Our own directories, and the roots of other repos inside this one.
fn left_out(config: &Config, repo: &RepoConfig) -> Vec<PathBuf> {
    let inner = config.repos.iter().map(|other| &other.path).filter(|path| **path != repo.path);
    config.own_dirs.iter().chain(inner).cloned().collect()
}

/// Trackers are plain threads: this is how they hear of the stop.
fn stop_trackers_with(supervisor: &mut Supervisor, tracked: &[Tracked]) {
    let mailboxes: Vec<Mailbox> = tracked.iter().map(|repo| repo.mailbox.clone()).collect();
    let token = supervisor.token();
    supervisor.spawn("stop of trackers", async move {
        token.cancelled().await;
        for mailbox in mailboxes {
            mailbox.send(Command::Stop);
        }
        Ok::<_, std::convert::Infallible>(())
    });
}

fn start_sinks(
    stages: &Stages,
    clock: &Clock,
    spool: &Spool,
    supervisor: &mut Supervisor,
) -> Result<Vec<sync::Handle>, AgentError> {
    let mut handles = Vec::new();
    if let Some(postgres) = &stages.postgres {
        let sink = postgres::Postgres::new(postgres)?;
        handles.push(start_sink(sink, stages, clock, spool, supervisor));
    }
    if let Some(kafka) = &stages.kafka {
        let sink = kafka::Kafka::new(kafka.clone());
        handles.push(start_sink(sink, stages, clock, spool, supervisor));
    }
    if let Some(bridge) = &stages.bridge {
        let sink = bridge::Bridge::new(bridge)?;
        handles.push(start_sink(sink, stages, clock, spool, supervisor));
    }
    Ok(handles)
}

fn start_sink<S: crate::sink::Sink>(
    sink: S,
    stages: &Stages,
    clock: &Clock,
    spool: &Spool,
    supervisor: &mut Supervisor,
) -> sync::Handle {
    let name = format!("sync {}", sink.name());
    let (handle, task) =
        sync::new(sink, spool.clone(), stages.sync.clone(), clock.clone(), supervisor.token());
    supervisor.spawn(name, task);
    handle
}
