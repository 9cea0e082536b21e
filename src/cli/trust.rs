//! `stampd trust [--diff|--revoke]`: a person accepts what a repo's own `.stampd.toml` asks for.
//!
//! Trust is given to the very bytes that were shown. The running agent is told at once; one that
//! starts later reads the pin by itself.

use std::path::{Path, PathBuf};

use rustc_hash::FxHashSet;
use serde::Serialize;

use super::exit::{Exit, failed};
use super::explain::{locate, open};
use super::shell::{Format, Printer, Shell, print_json};
use super::table::safe;
use crate::config::Config;
use crate::control::{ControlError, Request};
use crate::model::path::RepoPath;
use crate::model::repo_config::RepoConfig;
use crate::repo::policy::{Change, Current, FILE_NAME, RepoFile, changes, newly_hidden, parse};
use crate::repo::trust::{Store, Subject};
use crate::repo::{self, Reading, file};
use crate::runtime::rooted::Root;
use crate::spool::open_read_only;
use crate::watch::filter::{DirRules, Filter, RULE_FILE_BYTES_MAX, RULE_FILE_NAMES};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The repo, or any path in it
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Only show what trusting would change, and which files it would hide: exits 6 when something
    /// waits, 0 otherwise
    #[arg(long)]
    diff: bool,
    /// Take trust back
    #[arg(long, conflicts_with = "diff")]
    revoke: bool,
}

/// A repo, opened, and what it says of itself.
struct Scene<'c> {
    repo: &'c RepoConfig,
    root: Root,
    store: Store,
    subject: Subject,
    reading: Reading,
}

pub(super) fn run(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let config = shell.config()?;
    let scene = Scene::open(shell, &config, &args.path)?;
    if args.revoke {
        return revoke(shell, &config, &scene);
    }
    let (bytes, after) = scene.file()?;
    let pinned = scene.store.load(&scene.subject)?;
    let before = pinned.as_deref().and_then(|bytes| parse(bytes).ok()).unwrap_or_default();
    let difference = Difference {
        schema: "stampd.trust/v1",
        repo: &scene.repo.name,
        changes: changes(&before, &after).iter().map(Shown::of).collect(),
        hides: scene.hides(&config, &before, &after)?,
    };
    difference.tell(shell)?;
    if args.diff {
        let waits = !difference.changes.is_empty();
        return Ok(if waits { Exit::Untrusted } else { Exit::Fine });
    }
    scene.store.pin(&scene.subject, &bytes)?;
    shell.note(&format!("trusted {FILE_NAME} of {} as it is now", safe(&scene.repo.name)));
    reload(shell, &config)
}

impl<'c> Scene<'c> {
    fn open(shell: &Shell, config: &'c Config, path: &Path) -> anyhow::Result<Self> {
        let (repo, _) = locate(shell, config, path)?;
        let root = open(repo)?;
        let store = Store::new(&config.spool.state_dir);
        let reading = repo::look(&root, &config.user(repo), &store, None);
        let subject = Subject::of(&root, reading.git.as_ref());
        Ok(Self { repo, root, store, subject, reading })
    }

    /// The repo's own config: its bytes and what they say.
    fn file(&self) -> anyhow::Result<(Vec<u8>, RepoFile)> {
        let wrong =
            |exit, text: String| failed(exit, format!("trust {}: {text}", safe(&self.repo.name)));
        match file::read(&self.root) {
            Current::Absent => Err(wrong(Exit::NotFound, format!("it has no {FILE_NAME}"))),
            Current::Unreadable(error) => Err(wrong(Exit::Config, format!("{FILE_NAME}: {error}"))),
            Current::Bytes(bytes) => match parse(&bytes) {
                Ok(file) => Ok((bytes, file)),
                Err(error) => Err(wrong(Exit::Config, format!("{FILE_NAME}: {error}"))),
            },
        }
    }

    /// The stamped files that would no longer be read.
    fn hides(
        &self,
        config: &Config,
        before: &RepoFile,
        after: &RepoFile,
    ) -> anyhow::Result<Vec<String>> {
        let Ok(reader) = open_read_only(&config.spool.state_dir) else { return Ok(Vec::new()) };
        let known = reader.repos()?.into_iter().find(|known| known.root == self.repo.path);
        let Some(known) = known else { return Ok(Vec::new()) };
        let rows = reader.rows_within(known.id, &RepoPath::root())?;
        let filter = self.filter(rows.iter().map(|(path, _)| path));
        let files =
            rows.into_iter().map(|(path, row)| (path, row.mark.map_or(0, |mark| mark.size)));
        let hidden = newly_hidden(&config.user(self.repo), &filter, before, after, files);
        Ok(hidden.iter().map(ToString::to_string).collect())
    }

    /// The filter in force, with the rule files of every directory on the way to `paths`.
    fn filter<'p>(&self, paths: impl Iterator<Item = &'p RepoPath>) -> Filter {
        let mut filter = self.reading.filter();
        let mut met = FxHashSet::default();
        for path in paths {
            // Whoever met a directory has met those above it.
            for dir in path.ancestors().take_while(|dir| met.insert(dir.clone())) {
                filter.set_dir(&dir, self.rules(&dir));
            }
        }
        filter
    }

    fn rules(&self, dir: &RepoPath) -> DirRules {
        let read = |name: &&'static [u8]| {
            let path = dir.join(name);
            let bytes = self.root.read_small(path.as_bytes(), RULE_FILE_BYTES_MAX).ok()?;
            Some((*name, bytes))
        };
        let files: Vec<_> = RULE_FILE_NAMES.iter().filter_map(read).collect();
        let files: Vec<_> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        DirRules::parse(dir, &files)
    }
}

#[derive(Serialize)]
struct Shown {
    key: &'static str,
    before: Option<String>,
    after: Option<String>,
}

impl Shown {
    fn of(change: &Change) -> Self {
        let key = change.key.as_str();
        Self { key, before: change.before.clone(), after: change.after.clone() }
    }
}

#[derive(Serialize)]
struct Difference<'a> {
    schema: &'static str,
    repo: &'a str,
    changes: Vec<Shown>,
    hides: Vec<String>,
}

impl Difference<'_> {
    fn tell(&self, shell: &Shell) -> anyhow::Result<()> {
        if shell.format != Format::Human {
            return print_json(self);
        }
        let mut out = Printer::new();
        if self.changes.is_empty() {
            out.line("nothing waits for trust")?;
        }
        for change in &self.changes {
            let written =
                |value: &Option<String>| value.as_deref().map_or("nothing".to_owned(), safe);
            let (before, after) = (written(&change.before), written(&change.after));
            out.line(&format!("{}: {before} → {after}", change.key))?;
        }
        for path in &self.hides {
            out.line(&format!("would no longer be stamped: {path}"))?;
        }
        out.finish()
    }
}

fn revoke(shell: &Shell, config: &Config, scene: &Scene<'_>) -> anyhow::Result<Exit> {
    if !scene.store.revoke(&scene.subject)? {
        let text = format!("revoke trust in {}: none was given", safe(&scene.repo.name));
        return Err(failed(Exit::NotFound, text));
    }
    shell.note(&format!("took back the trust in {FILE_NAME} of {}", safe(&scene.repo.name)));
    reload(shell, config)
}

/// Tells the agent, if one runs.
fn reload(shell: &Shell, config: &Config) -> anyhow::Result<Exit> {
    match shell.nudge(config, &Request::Reload) {
        Ok(_) => Ok(Exit::Fine),
        Err(error) if matches!(error.downcast_ref(), Some(ControlError::NotRunning(_))) => {
            Ok(Exit::Fine)
        }
        Err(error) => Err(error),
    }
}
