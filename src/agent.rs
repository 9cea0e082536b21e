//! The agent: wires watching, hashing, the spool and the sinks together.
//!
//! Holds no logic of its own beyond the wiring: one tracker thread per repo finds what changed (which
//! repos those are, `roster` knows), one
//! writer thread makes it durable, one task per sink delivers it, the control socket answers, and so
//! do the stamping API and OnexTree, which also tell the agent's `figures`.
//! The order of a stop follows from who owns what: trackers stop first and drop their handles of
//! the spool, requests end and drop theirs, sinks abandon their batch and drop theirs, and the writer ends with the last handle.

mod answers;
pub mod api;
mod coverage;
mod figures;
mod greeting;
mod onextree;
mod overview;
mod pause;
mod roster;
mod tracker;
mod upkeep;
pub mod view;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::answers::Answers;
use self::overview::{Listening, Overview};
pub use self::pause::PauseError;
use self::roster::Common;
use crate::control::{self, ControlError};
use crate::enrich::{self, EnrichError, Enricher, Fetcher};
use crate::hash::{self, HashError, Hasher};
use crate::model::repo_config::RepoConfig;
use crate::repo::policy::User;
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Metrics;
use crate::runtime::port::BindError;
use crate::runtime::secret::SecretError;
use crate::runtime::supervisor::{Supervisor, SupervisorError};
use crate::sink::{bridge, kafka, postgres};
use crate::spool::{self, Spool, SpoolError};
use crate::watch::{self, filter};
use crate::{onextree as tree, store, sync};

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
    /// The intelligence service that is asked about contents, if there is one.
    pub intelligence: Option<enrich::Config>,
    /// OnexTree, if it is switched on.
    pub onextree: Option<tree::Config>,
    /// Whether the first stamps are shown on stderr, for a person who starts the agent by hand.
    pub greet: bool,
}

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The spool cannot be opened, or another agent has it.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// What a pause left cannot be read.
    #[error(transparent)]
    Pause(#[from] PauseError),
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
    /// The intelligence service cannot be asked.
    #[error(transparent)]
    Enrich(#[from] EnrichError),
    /// The stamping API or OnexTree cannot be listened for.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// The token of the stamping API or of OnexTree cannot be had.
    #[error("read the token that callers must bring ([api] token, [onextree] token)")]
    Token(#[from] SecretError),
}

/// What the user's config says of one repo, and allows the repo's own config to say.
pub fn user(
    repo: &RepoConfig,
    left_out: &[PathBuf],
    watch: &watch::Config,
    max_file_size: u64,
) -> User {
    let inside = left_out.iter().filter_map(|path| path.strip_prefix(&repo.path).ok());
    let patterns = inside.filter_map(|path| filter::literal(path.to_str()?));
    User {
        name: repo.name.clone(),
        settle: watch.settle.clone(),
        exclude: repo.exclude.iter().cloned().chain(patterns).collect(),
        include: repo.include.clone(),
        max_file_size: repo.max_file_size.unwrap_or(max_file_size),
    }
}

impl Config {
    /// What a repo leaves out: our own directories, and the roots of other repos inside it.
    pub fn left_out(&self, repo: &RepoConfig) -> Vec<PathBuf> {
        let inner = self.repos.iter().map(|other| &other.path);
        let inner = inner.filter(|path| **path != repo.path && path.starts_with(&repo.path));
        self.own_dirs.iter().chain(inner).cloned().collect()
    }
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
    let common = Common {
        watch: stages.watch.clone(),
        hasher: Hasher::new(stages.hash.clone())?,
        hash: stages.hash.clone(),
        agent: Config { repos: Vec::new(), ..stages.agent.clone() },
        spool: spool.clone(),
        clock: clock.clone(),
    };
    let metrics = Metrics::new();
    let (enricher, fetcher) = prepare_enricher(stages, &spool, &metrics)?.unzip();
    let (roster, orders) = roster::start(common, &stages.agent.repos, supervisor)?;
    let sinks = start_sinks(stages, clock, &spool, supervisor)?;
    upkeep::start(&roster, &spool, clock, supervisor);
    if stages.greet {
        greeting::start(&roster, &spool, supervisor)?;
    }
    let api = stages
        .api
        .as_ref()
        .map(|config| api::start(config, &spool, clock, &metrics, enricher.clone(), supervisor));
    let onextree = stages
        .onextree
        .as_ref()
        .map(|config| onextree::start(config, &roster, &spool, &metrics, supervisor));
    let (api, onextree) = (api.transpose()?, onextree.transpose()?);
    if let Some(fetcher) = fetcher {
        // Not before OnexTree listens: it may be the service that is asked.
        supervisor.spawn("enrichment", fetcher.run(supervisor.token()));
    }
    let overview = || {
        Ok::<_, SpoolError>(Overview {
            started,
            roster: roster.clone(),
            sinks: sinks.clone(),
            listening: Listening { api, onextree },
            enricher: enricher.clone(),
            reader: spool.reader()?,
        })
    };
    if api.is_some() || onextree.is_some() {
        figures::start(overview()?, &stages.spool, clock, &metrics);
    }
    let answers = Answers { overview: overview()?, orders, spool: spool.clone() };
    answers::start(answers, listener, supervisor);
    Ok(())
}

/// The names of everything that an agent counts, whatever it serves.
pub fn metric_names() -> BTreeSet<String> {
    let metrics = Metrics::new();
    figures::register(&metrics);
    let own = metrics.names().into_iter();
    own.chain(crate::api::metric_names())
        .chain(tree::metric_names())
        .chain(enrich::metric_names())
        .collect()
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

/// Before any repo is opened, so that no stamp is made past it.
fn prepare_enricher(
    stages: &Stages,
    spool: &Spool,
    metrics: &Metrics,
) -> Result<Option<(Enricher, Fetcher)>, AgentError> {
    let Some(config) = &stages.intelligence else { return Ok(None) };
    let (enricher, fetcher) = enrich::new(config, metrics)?;
    let known = enricher.clone();
    spool.annotate(Arc::new(move |digest, path| known.known(digest, path)))?;
    Ok(Some((enricher, fetcher)))
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
