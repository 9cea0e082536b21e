//! The config: from a file, the environment and flags to the `Config` of every stage.
//!
//! Holds the loading, the checks and the mapping, one function per section. No stage knows of it:
//! each owns its own `Config`, and this is their product. Promises: an unknown key is an error, all
//! problems are told at once with their place, every value's origin is known, and no secret is ever
//! shown.

mod adapter;
mod api;
pub mod edit;
mod example;
mod keys;
mod layer;
mod load;
mod problem;
mod repos;
mod roads;
mod seed;
mod table;
mod value;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::example::example;
pub(crate) use self::keys::{suggestion, usual};
use self::layer::{FlagValue, Settings};
pub use self::load::{Environment, usual_place};
pub use self::problem::{ConfigError, Origin, Problem};
use self::table::Table;
use self::value::Value;
use crate::model::repo_config::RepoConfig;
use crate::repo::policy::User;
use crate::runtime::secret::Secret;
use crate::runtime::{http, telemetry};
use crate::sink::{bridge, kafka};
use crate::sync::reach;
use crate::{agent, enrich, hash, onextree, settle, spool, store, sync, watch};

/// What flags say about the config.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<String>,
    /// `--runtime-dir`.
    pub runtime_dir: Option<String>,
    /// `--url` of the database.
    pub postgres_url: Option<String>,
    /// `--listen` of what the role serves.
    pub listen: Option<String>,
    /// `-v` and `--quiet`, as a level.
    pub log_level: Option<String>,
    /// `--repo`: instead of the repos of the file.
    pub repos: Vec<String>,
    /// `--namespace`: of those repos.
    pub namespace: Option<String>,
    /// Whom the config is for.
    pub role: Role,
}

/// Whom a config is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The agent and the tools around it.
    #[default]
    Agent,
    /// The bridge: it also listens to the variables of the services that it stands in for, always has
    /// the API, and keeps nothing on its own disk.
    Bridge,
    /// The adapter and the tools around it: it listens to those variables too, and keeps nothing on
    /// its own disk either.
    Adapter,
}

/// A whole config, checked.
#[derive(Debug)]
pub struct Config {
    /// The file it comes from, if there is one.
    pub file: Option<PathBuf>,
    /// The agent's.
    pub agent: agent::Config,
    /// How repos are watched.
    pub watch: watch::Config,
    /// How files are read.
    pub hash: hash::Config,
    /// The spool's.
    pub spool: spool::Config,
    /// How patient delivery is.
    pub sync: sync::Config,
    /// The road to Postgres, if there is one and it is switched on.
    pub postgres: Option<store::Config>,
    /// The road to Kafka, if there is one and it is switched on.
    pub kafka: Option<kafka::Config>,
    /// The API's listener, if the API is switched on.
    pub api: Option<http::Config>,
    /// The token that the API asks for, if it asks for one.
    pub api_token: Option<Secret>,
    /// OnexTree, if it is switched on.
    pub onextree: Option<onextree::Config>,
    /// The intelligence service, if there is one and it is switched on.
    pub intelligence: Option<enrich::Config>,
    /// How long a reply of the bridge waits for its event's delivery report.
    pub publish_wait: Duration,
    /// The road to a bridge, if there is one and it is switched on.
    pub bridge: Option<bridge::Config>,
    /// The adapter, if there are roads to read from and to write to.
    pub adapter: Option<crate::adapter::Config>,
    /// Logging's.
    pub telemetry: telemetry::Config,
    settings: Settings,
}

/// One value in force, for showing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    /// The section; a repo's as `repo.<n>`, counted from 1.
    pub section: String,
    /// The key.
    pub key: &'static str,
    /// The value as TOML; a secret as its reference.
    pub value: String,
    /// Where it comes from.
    pub origin: String,
}

/// Loads the config that flags and environment name.
///
/// # Errors
/// With everything that is wrong, not only the first.
pub fn load(flags: &Flags, environment: &Environment) -> Result<Config, ConfigError> {
    of_file(load::find(flags.config.as_deref(), environment)?, flags, environment)
}

/// The config as it would be with this text in the file at `path`.
///
/// # Errors
/// With everything that is wrong, as [`load`].
pub fn load_text(
    path: &Path,
    text: String,
    flags: &Flags,
    environment: &Environment,
) -> Result<Config, ConfigError> {
    of_file(Some((path.to_owned(), text)), flags, environment)
}

fn of_file(
    file: Option<(PathBuf, String)>,
    flags: &Flags,
    environment: &Environment,
) -> Result<Config, ConfigError> {
    let mut settings = Settings::new(environment);
    if let Some((path, text)) = &file {
        settings.apply_file(path, text, environment);
    }
    settings.apply_environment(environment);
    settings.apply_flags(&flag_values(flags), environment);
    apply_repos(&mut settings, flags, environment);
    seed::apply(&mut settings, flags.role, environment);
    derive_directories(&mut settings, flags.role, environment)?;
    settings.check_required();
    let mut problems = std::mem::take(&mut settings.problems);
    problems.extend(repos::check(&settings.repos));
    problems.extend(check_watch(&settings));
    problems.extend(road(&settings, "postgres").into_iter().flat_map(roads::check_postgres));
    problems.extend(road(&settings, "kafka").into_iter().flat_map(roads::check_kafka));
    for listening in ["api", "onextree"] {
        problems.extend(road(&settings, listening).into_iter().flat_map(api::check));
    }
    problems.extend(road(&settings, "bridge").into_iter().flat_map(roads::check_bridge));
    let intelligence = road(&settings, "intelligence");
    problems.extend(intelligence.into_iter().flat_map(roads::check_intelligence));
    problems.extend(adapter::check(&settings, flags.role));
    if !problems.is_empty() {
        problems.sort_by(|one, other| one.origin.cmp(&other.origin));
        return Err(ConfigError::Wrong(problems));
    }
    Ok(Config {
        file: file.map(|(path, _)| path),
        agent: agent(&settings),
        watch: watch(&settings),
        hash: hash(&settings),
        spool: spool(&settings),
        sync: sync(&settings),
        postgres: road(&settings, "postgres").map(roads::postgres),
        kafka: road(&settings, "kafka").map(roads::kafka),
        api: road(&settings, "api").map(api::listener),
        api_token: road(&settings, "api").and_then(api::token),
        onextree: road(&settings, "onextree").map(api::onextree),
        intelligence: road(&settings, "intelligence").map(roads::intelligence),
        publish_wait: settings.table("kafka").duration("publish_wait"),
        bridge: road(&settings, "bridge").map(roads::bridge),
        adapter: adapter::adapter(&settings),
        telemetry: telemetry(&settings),
        settings,
    })
}

fn flag_values(flags: &Flags) -> Vec<FlagValue> {
    let value = |flag, section, key, text: &Option<String>| {
        let text = text.clone()?;
        Some(FlagValue { flag, section, key, text })
    };
    let listening = if flags.role == Role::Adapter { "adapter" } else { "api" };
    [
        value("--state-dir", "agent", "state_dir", &flags.state_dir),
        value("--runtime-dir", "agent", "runtime_dir", &flags.runtime_dir),
        value("--url", "postgres", "url", &flags.postgres_url),
        value("--listen", listening, "listen", &flags.listen),
        value("-v or --quiet", "telemetry", "log_level", &flags.log_level),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Repos given by flags stand instead of the file's.
fn apply_repos(settings: &mut Settings, flags: &Flags, environment: &Environment) {
    if flags.repos.is_empty() {
        return;
    }
    settings.repos.clear();
    for path in &flags.repos {
        let namespace = flags
            .namespace
            .clone()
            .unwrap_or_else(|| default_namespace(&environment.directory().join(path)));
        let values = [("path", path.clone()), ("namespace", namespace)];
        settings.add_repo("--repo", &values, environment);
    }
}

/// `local.dev.<directory>`: for a repo that is only tried out.
pub fn default_namespace(path: &Path) -> String {
    let directory: PathBuf = path.components().collect();
    let name = directory.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let legal = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let word: String = name.chars().map(legal).take(64).collect();
    let word = word.trim_start_matches(|first: char| !first.is_ascii_lowercase());
    format!("local.dev.{}", if word.is_empty() { "repo" } else { word })
}

fn derive_directories(
    settings: &mut Settings,
    role: Role,
    environment: &Environment,
) -> Result<(), ConfigError> {
    let agent = settings.table_mut("agent");
    let is_own = agent.path("state_dir").is_some();
    if !is_own {
        let (path, origin) = match (environment.state_dir(), role) {
            (Ok(found), _) => found,
            // A server without a home is usual, and it writes nothing there.
            (Err(_), Role::Bridge | Role::Adapter) => {
                (PathBuf::from("/var/lib/stampd"), Origin::Default)
            }
            (Err(error), Role::Agent) => return Err(error),
        };
        agent.derive("state_dir", Value::Path(path), origin);
    }
    let state_dir = agent.path("state_dir").expect("derived above").to_owned();
    let (path, origin) = environment.runtime_dir(&state_dir, is_own);
    agent.derive("runtime_dir", Value::Path(path), origin);
    Ok(())
}

fn agent(settings: &Settings) -> agent::Config {
    let table = settings.table("agent");
    let directory = |key| table.path(key).expect("both are derived when not set").to_owned();
    let (state_dir, runtime_dir) = (directory("state_dir"), directory("runtime_dir"));
    let logs = settings.table("telemetry").path("log_dir").map(Path::to_owned);
    agent::Config {
        own_dirs: [state_dir.clone(), runtime_dir.clone()].into_iter().chain(logs).collect(),
        state_dir,
        runtime_dir,
        shutdown_grace: table.duration("shutdown_grace"),
        repos: settings.repos.iter().filter_map(repos::repo).collect(),
    }
}

fn watch(settings: &Settings) -> watch::Config {
    let table = settings.table("watch");
    watch::Config {
        settle: settle::Config {
            settle: table.duration("settle"),
            settle_after_close: table.duration("settle_after_close"),
            settle_max: table.duration("settle_max"),
            paths_max: table.count("queue_paths_max") as usize,
            dir_paths_max: table.count("dir_paths_max") as usize,
            ..settle::Config::default()
        },
        audit_every: table.duration("audit_every"),
        one_filesystem: table.switch("one_filesystem"),
        nested: table.switch("nested"),
    }
}

/// Checks what the keys of `[watch]` say of each other.
fn check_watch(settings: &Settings) -> Vec<Problem> {
    let table = settings.table("watch");
    let too_long = |key: &&str| table.duration(key) > table.duration("settle_max");
    let problem = |key: &str| {
        let text =
            format!("[watch] {key}: it is longer than settle_max, which would never let it act");
        Problem::new(&table.origin(key), text)
    };
    ["settle", "settle_after_close"].into_iter().filter(too_long).map(problem).collect()
}

fn hash(settings: &Settings) -> hash::Config {
    let table = settings.table("hash");
    let of_stage = hash::Config::default();
    hash::Config {
        max_file_size: table.size("max_file_size"),
        sparse_ratio: table.count("sparse_ratio"),
        threads: match table.count("threads") {
            0 => of_stage.threads,
            threads => threads as usize,
        },
        rate: table.size_if_set("rate").and_then(NonZero::new),
        ..of_stage
    }
}

fn spool(settings: &Settings) -> spool::Config {
    spool_keys(settings, agent(settings).state_dir)
}

fn spool_keys(settings: &Settings, state_dir: PathBuf) -> spool::Config {
    let table = settings.table("spool");
    spool::Config {
        state_dir,
        retention: table.duration("retention"),
        max_bytes: table.size("max_bytes"),
    }
}

fn sync(settings: &Settings) -> sync::Config {
    let table = settings.table("sync");
    let of_stage = sync::Config::default();
    let reach = reach::Config {
        backoff_first: table.duration("backoff_first"),
        backoff_max: table.duration("backoff_max"),
        ..of_stage.reach
    };
    sync::Config { reach, ..of_stage }
}

fn telemetry(settings: &Settings) -> telemetry::Config {
    let table = settings.table("telemetry");
    telemetry::Config {
        level: table.text("log_level").expect("keys.rs gives it a default").to_owned(),
        directory: table.path("log_dir").map(Path::to_owned),
        files_max: table.count("log_files") as usize,
    }
}

/// The section of a road that is there and switched on.
fn road<'s>(settings: &'s Settings, name: &str) -> Option<&'s Table> {
    Some(settings.table(name)).filter(|table| table.is_enabled())
}

impl Config {
    /// Looks whether the repos are directories: what `run` refuses to start with, and, with
    /// `missing_too`, what `config check` finds wrong beyond that.
    pub fn check_places(&self, missing_too: bool) -> Result<(), ConfigError> {
        let problems = repos::check_places(&self.settings.repos, missing_too);
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Wrong(problems)) }
    }

    /// What the user says of one repo, as the limits of what the repo says of itself.
    pub fn user(&self, repo: &RepoConfig) -> User {
        agent::user(repo, &self.agent.left_out(repo), &self.watch, self.hash.max_file_size)
    }

    /// What the agent is built from.
    pub fn stages(&self, greet: bool) -> agent::Stages {
        agent::Stages {
            agent: self.agent.clone(),
            watch: self.watch.clone(),
            hash: self.hash.clone(),
            spool: self.spool.clone(),
            sync: self.sync.clone(),
            postgres: self.postgres.clone(),
            kafka: self.kafka.clone(),
            bridge: self.bridge.clone(),
            api: self
                .api
                .clone()
                .map(|http| agent::api::Config { http, token: self.api_token.clone() }),
            onextree: self.onextree.clone(),
            intelligence: self.intelligence.clone(),
            greet,
        }
    }

    /// Every secret that is referred to where its section is in force, by the key that refers to it.
    pub fn secrets(&self) -> Vec<(String, Secret)> {
        let of_table = |table: &&Table| table.is_enabled();
        let secrets = self.settings.tables().filter(of_table).flat_map(|table| {
            table.section.keys.iter().filter_map(|key| {
                let secret = table.secret(key.name)?.clone();
                Some((format!("[{}] {}", table.section.name, key.name), secret))
            })
        });
        secrets.collect()
    }

    /// Every value in force, in the order of the example.
    pub fn shown(&self) -> Vec<Shown> {
        let mut repos = 0;
        let mut shown = Vec::new();
        for table in self.settings.tables() {
            let mut section = table.section.name.to_owned();
            if table.section.form == keys::Form::List {
                repos += 1;
                section = format!("{section}.{repos}");
            }
            if table.section.form == keys::Form::Road && table.at.is_none() {
                continue;
            }
            shown.extend(table.section.keys.iter().filter_map(|key| {
                let found = table.found(key.name)?;
                Some(Shown {
                    section: section.clone(),
                    key: key.name,
                    value: found.value.to_string(),
                    origin: found.origin.to_string(),
                })
            }));
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Settings {
        let variables = [("HOME".to_owned(), "/home/ada".to_owned())];
        Settings::new(&Environment::of(variables, PathBuf::from("/")))
    }

    fn check<T: std::fmt::Debug>(from_table: T, of_stage: T) {
        assert_eq!(format!("{from_table:?}"), format!("{of_stage:?}"));
    }

    /// They bounded the hints and not what had yet to settle.
    #[test]
    fn the_bounds_of_watch_hold_for_what_has_yet_to_settle() {
        let variables = [
            ("HOME".to_owned(), "/home/ada".to_owned()),
            ("STAMPD_WATCH__QUEUE_PATHS_MAX".to_owned(), "2048".to_owned()),
            ("STAMPD_WATCH__DIR_PATHS_MAX".to_owned(), "32".to_owned()),
        ];
        let environment = Environment::of(variables, PathBuf::from("/"));
        let mut settings = Settings::new(&environment);
        settings.apply_environment(&environment);
        let repo = RepoConfig {
            name: "app".to_owned(),
            path: PathBuf::from("/app"),
            namespace: "a.b.c".parse().expect("a namespace"),
            exclude: Vec::new(),
            include: Vec::new(),
            max_file_size: None,
        };
        let settle = agent::user(&repo, &[], &watch(&settings), 1).settle;
        assert_eq!((settle.paths_max, settle.dir_paths_max), (2048, 32));
    }

    #[test]
    fn the_table_s_defaults_are_those_of_the_stages() {
        let settings = defaults();
        check(watch(&settings), watch::Config::default());
        check(hash(&settings), hash::Config::default());
        check(sync(&settings), sync::Config::default());
        let kafka = settings.table("kafka");
        check(roads::kafka(kafka), kafka::Config::default());
        check(telemetry(&settings), telemetry::Config::default());
        check(api::listener(settings.table("api")), http::Config::default());
        check(api::onextree(settings.table("onextree")), onextree::Config::default());
        check(roads::intelligence(settings.table("intelligence")), enrich::Config::default());
        check(adapter::reading(settings.table("adapter")), crate::adapter::Reading::default());
        let of_stage = spool::Config::default();
        let from_table = spool_keys(&settings, of_stage.state_dir.clone());
        check(from_table, of_stage);
    }
}
