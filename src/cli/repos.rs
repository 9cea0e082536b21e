//! `stampd add`, `remove` and `list`: which repos are watched, in the config file and by the agent
//! that runs.
//!
//! The file comes first: what stands there is what the next start watches. Then the running agent is
//! told; without one there is nobody to tell. Comments and order in the file stay as they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::exit::{Exit, failed};
use super::place::escaped;
use super::rewrite::Original;
use super::shell::{Format, Shell, print, print_json, unexpected};
use super::table::{safe, table};
use crate::config::{self, Config, default_namespace, edit, usual_place};
use crate::control::{ControlError, Reply, Request};
use crate::model::namespace::Namespace;
use crate::model::repo_config::RepoConfig;
use crate::model::status::{RepoState, Status};

/// A tracker that ends makes durable what it found, which takes a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(super) struct AddArgs {
    /// The directory
    dir: PathBuf,
    /// What it is called in stamps, status and commands [default: the directory's name]
    #[arg(long)]
    name: Option<String>,
    /// The namespace of its stamps [default: local.dev.NAME]
    #[arg(long, value_name = "A.B.C")]
    namespace: Option<Namespace>,
    /// Also inside a watched repo, or around one: a path belongs to the innermost
    #[arg(long)]
    nested: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct RemoveArgs {
    /// The repo's name, or its directory
    repo: PathBuf,
}

/// Adds a `[[repo]]` and has it watched.
pub(super) fn add(shell: &Shell, args: &AddArgs) -> anyhow::Result<Exit> {
    let config = shell.config()?;
    let file = file_of(shell, &config)?;
    let repo = new_repo(&config, args, directory(shell, &args.dir)?)?;
    let (original, text) = Original::read(file)?;
    let text = edit::with_repo(&text, &repo);
    rewrite(shell, file, original, &text, |repos| repos.contains(&repo))?;
    let watched = format!("{} is watched as {}", escaped(repo.path.as_os_str()), repo.name);
    tell(shell, &config, &Request::Add { repo }, &watched)
}

/// The repo at `path`, if there may be one beside those of the config.
fn new_repo(config: &Config, args: &AddArgs, path: PathBuf) -> anyhow::Result<RepoConfig> {
    check_place(config, &path, args.nested)?;
    let name = args.name.clone().unwrap_or_else(|| name_of(&path));
    if let Some(other) = config.agent.repos.iter().find(|repo| repo.name == name) {
        let place = escaped(other.path.as_os_str());
        let text = format!("add it as {name:?}: the repo at {place} has that name; say --name");
        return Err(failed(Exit::Usage, text));
    }
    let namespace = args.namespace.clone().map_or_else(|| default_namespace(&path).parse(), Ok)?;
    let (exclude, include) = (Vec::new(), Vec::new());
    Ok(RepoConfig { name, path, namespace, exclude, include, max_file_size: None })
}

/// A directory as `add` would watch it with nothing else said, beside those of the config.
pub(super) fn found(shell: &Shell, config: &Config, dir: &Path) -> anyhow::Result<RepoConfig> {
    let args = AddArgs { dir: dir.to_owned(), name: None, namespace: None, nested: false };
    new_repo(config, &args, directory(shell, dir)?)
}

/// Adds a directory with nothing else said, as `setup` does it.
pub(super) fn add_found(shell: &Shell, dir: &Path) -> anyhow::Result<Exit> {
    add(shell, &AddArgs { dir: dir.to_owned(), name: None, namespace: None, nested: false })
}

/// Takes a `[[repo]]` out and has it watched no longer.
pub(super) fn remove(shell: &Shell, args: &RemoveArgs) -> anyhow::Result<Exit> {
    let config = shell.config()?;
    let file = file_of(shell, &config)?;
    let path = shell.environment.directory().join(&args.repo);
    let path = path.canonicalize().unwrap_or(path);
    let is_meant =
        |repo: &RepoConfig| Path::new(&repo.name) == args.repo.as_path() || repo.path == path;
    let Some(index) = config.agent.repos.iter().position(is_meant) else {
        return Err(failed(Exit::NotFound, not_there(&config, &args.repo)));
    };
    let name = config.agent.repos[index].name.clone();
    let (original, text) = Original::read(file)?;
    let Some(text) = edit::without_repo(&text, index) else {
        let shown = file.display();
        let text = format!("remove {name}: it is no [[repo]] section of {shown}; edit the file");
        return Err(failed(Exit::Config, text));
    };
    let left = config.agent.repos.iter().filter(|repo| repo.name != name);
    let left: Vec<RepoConfig> = left.cloned().collect();
    rewrite(shell, file, original, &text, |repos| *repos == left)?;
    let gone = format!("{name} is watched no longer; its stamps stay");
    if left.is_empty() {
        shell.note("no repo is left: the agent starts again once there is one; see `stampd add`");
    }
    tell(shell, &config, &Request::Remove { repo: name }, &gone)
}

/// The config file, which must be there to be changed.
fn file_of<'c>(shell: &Shell, config: &'c Config) -> anyhow::Result<&'c Path> {
    config.file.as_deref().ok_or_else(|| {
        let place = usual_place(&shell.environment).unwrap_or_default();
        let text = format!(
            "find the config file: there is none at {}; `stampd setup` writes one",
            place.display()
        );
        failed(Exit::Config, text)
    })
}

/// The directory as it is watched: absolute, without links, and writable in TOML.
fn directory(shell: &Shell, dir: &Path) -> anyhow::Result<PathBuf> {
    let shown = escaped(dir.as_os_str());
    let path = shell.environment.directory().join(dir).canonicalize().map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::NotFound,
        };
        failed(exit, format!("watch {shown}: {error}"))
    })?;
    if !path.is_dir() {
        let text = format!("watch {shown}: it is a file; name the directory that it lies in");
        return Err(failed(Exit::Usage, text));
    }
    if path.to_str().is_none() {
        let text = format!("watch {shown}: its path is not UTF-8, and a config file is; rename it");
        return Err(failed(Exit::Usage, text));
    }
    Ok(path)
}

/// Whether a repo may begin at `path`.
fn check_place(config: &Config, path: &Path, nested: bool) -> anyhow::Result<()> {
    let shown = escaped(path.as_os_str());
    if config.agent.own_dirs.iter().any(|own| path.starts_with(own)) {
        let text = format!("watch {shown}: stampd keeps its own state there");
        return Err(failed(Exit::Usage, text));
    }
    for repo in &config.agent.repos {
        let other = format!("the repo {} ({})", repo.name, escaped(repo.path.as_os_str()));
        let text = if repo.path == path {
            format!("add {shown}: it is watched already, as {}", repo.name)
        } else if path.starts_with(&repo.path) && !nested {
            format!(
                "add {shown}: it lies in {other}, which covers it; --nested makes it a repo of \
                     its own"
            )
        } else if repo.path.starts_with(path) && !nested {
            format!("add {shown}: {other} lies in it; --nested watches all but that")
        } else {
            continue;
        };
        return Err(failed(Exit::Usage, text));
    }
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| "root".to_owned(), escaped)
}

fn not_there(config: &Config, asked: &Path) -> String {
    let names: Vec<_> = config.agent.repos.iter().map(|repo| repo.name.as_str()).collect();
    let there_are = if names.is_empty() {
        "the config has none".to_owned()
    } else {
        format!("there are {}", names.join(", "))
    };
    format!("find the repo {}: {there_are}", escaped(asked.as_os_str()))
}

/// Puts a new text into the config file, if it is right and its repos are as they should be.
fn rewrite(
    shell: &Shell,
    file: &Path,
    original: Original,
    text: &str,
    is_right: impl Fn(&Vec<RepoConfig>) -> bool,
) -> anyhow::Result<()> {
    let changed = config::load_text(file, text.to_owned(), &shell.flags(), &shell.environment);
    if !is_right(&changed?.agent.repos) {
        let text = format!(
            "change {}: its repos are written in an unusual way; edit it by hand",
            file.display()
        );
        return Err(failed(Exit::Config, text));
    }
    original.replace(text)?;
    shell.note(&format!("wrote {}", file.display()));
    Ok(())
}

/// Tells the agent that runs, if one does.
fn tell(shell: &Shell, config: &Config, request: &Request, done: &str) -> anyhow::Result<Exit> {
    match shell.ask(config, request, Some(PATIENCE)) {
        Ok(Reply::Done) => shell.note(done),
        Ok(reply) => {
            return Err(unexpected("tell the agent, which takes it up at its next start", reply));
        }
        Err(error) if is_not_running(&error) => {
            shell.note("no agent is running: this counts from its next start");
        }
        Err(error) => {
            return Err(error.context("tell the agent, which takes it up at its next start"));
        }
    }
    Ok(Exit::Fine)
}

fn is_not_running(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ControlError::NotRunning(_)))
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    config: Option<&'a Path>,
    repos: Vec<Listed<'a>>,
}

/// A repo of the config.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    path: String,
    namespace: &'a str,
    /// What the agent says of it; `null` without an agent, or when the agent does not know it.
    state: Option<RepoState>,
}

/// Lists the repos of the config, with what the agent says of them.
pub(super) fn list(shell: &Shell) -> anyhow::Result<Exit> {
    let config = shell.config()?;
    let status = status(shell, &config)?;
    let state = |name: &str| {
        let of_agent = status.as_ref()?.repos.iter().find(|repo| repo.name == name)?;
        Some(of_agent.state)
    };
    let listed = config.agent.repos.iter().map(|repo| Listed {
        name: &repo.name,
        path: repo.path.display().to_string(),
        namespace: repo.namespace.as_str(),
        state: state(&repo.name),
    });
    let repos: Vec<_> = listed.collect();
    if repos.is_empty() {
        shell.note("no repo is configured; `stampd add DIR` adds one");
    }
    match shell.format {
        Format::Json => {
            let config = config.file.as_deref();
            print_json(&Document { schema: "stampd.list/v1", config, repos })?;
        }
        Format::Jsonl => repos.iter().try_for_each(print_json)?,
        Format::Human => print(&text(&repos))?,
    }
    Ok(Exit::Fine)
}

fn status(shell: &Shell, config: &Config) -> anyhow::Result<Option<Status>> {
    match shell.status(config, PATIENCE) {
        Ok(status) => Ok(Some(*status)),
        Err(error) if is_not_running(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn text(repos: &[Listed<'_>]) -> String {
    let head = ["NAME", "PATH", "NAMESPACE", "STATE"].map(str::to_owned).to_vec();
    let row = |repo: &Listed<'_>| {
        let state = match repo.state {
            None => "-",
            Some(RepoState::Starting) => "starting",
            Some(RepoState::Watching) => "watching",
            Some(RepoState::Degraded) => "degraded",
            Some(RepoState::Absent) => "absent",
        };
        vec![safe(repo.name), safe(&repo.path), repo.namespace.to_owned(), state.to_owned()]
    };
    table(&std::iter::once(head).chain(repos.iter().map(row)).collect::<Vec<_>>())
}
