//! `stampd setup`: from nothing to an agent at work, and safe to type again.
//!
//! Writes a config with what is found, has the service installed and started, and ends with what
//! `doctor` finds. A config that is there is only added to; a service that runs is left alone. Asks
//! nothing, so it can be scripted.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::doctor;
use super::exit::{Exit, failed};
use super::repos;
use super::service::{self, Placed};
use super::shell::{Shell, print};
use crate::config::{self, Config, Flags, edit, usual_place};
use crate::runtime::whole;

const HEAD: &str = "\
# What stampd watches, and where its stamps go. `stampd config example` prints every key with its
# default, `stampd config check` says what is wrong with this file.
";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directories to watch [default: the git repository around this one, if there is one]
    dirs: Vec<PathBuf>,
    /// Only print the config that would be written
    #[arg(long)]
    dry_run: bool,
    /// Install no service: `stampd run` is started by other means
    #[arg(long)]
    no_service: bool,
}

pub(super) fn run(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let file = place(shell)?;
    let dirs = if args.dirs.is_empty() { around(shell) } else { args.dirs.clone() };
    if file.exists() {
        if args.dry_run {
            shell.note(&format!("{} is there and would be added to", file.display()));
            return Ok(Exit::Fine);
        }
        add_to(shell, &file, &dirs)?;
    } else {
        let text = text(shell, &dirs)?;
        if args.dry_run {
            print(&text)?;
            return Ok(Exit::Fine);
        }
        write(&file, &text)?;
        shell.note(&format!("wrote {}", file.display()));
    }
    if !args.no_service {
        start(shell)?;
    }
    doctor::run(shell)
}

/// Where the config is, or is to be.
fn place(shell: &Shell) -> anyhow::Result<PathBuf> {
    let asked = shell.flags().config;
    let asked = asked.or_else(|| shell.environment.get("STAMPD_CONFIG").map(PathBuf::from));
    match asked {
        Some(file) => Ok(shell.environment.directory().join(file)),
        None => usual_place(&shell.environment).ok_or_else(|| {
            failed(Exit::Config, "find the place for a config: HOME is not set; say --config")
        }),
    }
}

/// The git repository around the working directory. A home that is one is no repo to watch.
fn around(shell: &Shell) -> Vec<PathBuf> {
    let directory = shell.environment.directory();
    let home = shell.environment.get("HOME").map(Path::new);
    let root = directory.ancestors().find(|above| above.join(".git").exists());
    root.filter(|root| Some(*root) != home).map(Path::to_owned).into_iter().collect()
}

/// A config that is there keeps what it has.
fn add_to(shell: &Shell, file: &Path, dirs: &[PathBuf]) -> anyhow::Result<()> {
    let config = shell.config()?;
    shell.note(&format!("{} is there and stays", file.display()));
    for dir in dirs {
        let path = shell.environment.directory().join(dir);
        let path = path.canonicalize().unwrap_or(path);
        if !config.agent.repos.iter().any(|repo| path.starts_with(&repo.path)) {
            repos::add_found(shell, dir)?;
        }
    }
    Ok(())
}

/// A new config: the directories as repos, and servers that the environment names as comments.
fn text(shell: &Shell, dirs: &[PathBuf]) -> anyhow::Result<String> {
    let mut text = HEAD.to_owned();
    for dir in dirs {
        let so_far = load(shell, &text)?;
        let repo = repos::found(shell, &so_far, dir)?;
        text = edit::with_repo(&text, &repo);
    }
    text.push_str(&servers(shell));
    // What is written must be a config.
    load(shell, &text)?;
    Ok(text)
}

fn load(shell: &Shell, text: &str) -> anyhow::Result<Config> {
    let flags = Flags { config: None, ..shell.flags() };
    let place = place(shell)?;
    Ok(config::load_text(&place, text.to_owned(), &flags, &shell.environment)?)
}

/// Servers that the environment names for other programs. An agent must not be sent there unasked,
/// so they are only offered.
fn servers(shell: &Shell) -> String {
    let variable = |name: &str| shell.environment.get(name);
    let mut out = String::new();
    if let Some(host) = variable("POSTGRES_HOST") {
        let port = variable("POSTGRES_PORT").unwrap_or("5432");
        let database = variable("POSTGRES_DATABASE").unwrap_or("omninode_bridge");
        let user = variable("POSTGRES_USER").unwrap_or("postgres");
        out.push_str(&offered(
            "POSTGRES_HOST",
            &format!(
                "[postgres]\nurl = \"postgres://{user}@{host}:{port}/{database}?sslmode=verify-full\"\n\
                 password = {{ env = \"POSTGRES_PASSWORD\" }}"
            ),
        ));
    }
    if let Some(brokers) = variable("KAFKA_BOOTSTRAP_SERVERS") {
        let brokers: Vec<_> =
            brokers.split(',').map(|broker| format!("{:?}", broker.trim())).collect();
        let brokers = format!("[kafka]\nbrokers = [{}]", brokers.join(", "));
        out.push_str(&offered("KAFKA_BOOTSTRAP_SERVERS", &brokers));
    }
    out
}

fn offered(variable: &str, section: &str) -> String {
    let commented: Vec<_> = section.lines().map(|line| format!("#{line}\n")).collect();
    format!("\n# {variable} names this. Take out the # to deliver there.\n{}", commented.concat())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let shown = || format!("write {}", file.display());
    let parent = file.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(parent).with_context(shown)?;
    match whole::write_new(file, text.as_bytes(), 0o600) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let text = format!("{}: it came meanwhile; say `stampd setup` again", shown());
            Err(failed(Exit::Temporary, text))
        }
        written => written.with_context(shown),
    }
}

/// Has the service started, or says why there is none: `doctor` then says what that means.
fn start(shell: &Shell) -> anyhow::Result<()> {
    if shell.config()?.agent.repos.is_empty() {
        shell.note("no repo is found to watch; say `stampd add DIR`, then `stampd setup` again");
        return Ok(());
    }
    match service::place_own(shell) {
        Ok(Placed::Started) => {}
        Ok(Placed::Current) => shell.note("the service is installed and runs"),
        Err(error) => shell.note(&format!("there is no service: failed to {error:#}")),
    }
    Ok(())
}
