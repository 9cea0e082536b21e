//! `stampd explain PATH`: is it covered, and which rule in which line says so?

use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;

use super::exit::{Exit, failed};
use super::place::{self, escaped};
use super::shell::{Format, Printer, Shell, print_json};
use super::table::{bytes, safe};
use crate::config::Config;
use crate::model::change::{Row, State};
use crate::model::digest::Digest;
use crate::model::path::RepoPath;
use crate::model::repo_config::RepoConfig;
use crate::repo::explain::{Explanation, explain};
use crate::repo::trust::Store;
use crate::repo::{self, Reading};
use crate::runtime::rooted::{FileKind, Root};
use crate::spool::open_read_only;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file or a directory; it need not be there
    path: PathBuf,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    repo: &'a str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
    covered: bool,
    verdict: String,
    tracked: bool,
    kind: Option<&'static str>,
    size: Option<u64>,
    recorded: Option<String>,
    digest: Option<Digest>,
    notes: Vec<String>,
}

pub(super) fn run(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let config = shell.config()?;
    let (repo, path) = locate(shell, &config, &args.path)?;
    let root = open(repo)?;
    let store = Store::new(&config.spool.state_dir);
    let user = config.user(repo);
    let reading = repo::look(&root, &user, &store, None);
    let explanation = explain(&root, &reading, config.watch.nested, &path)
        .with_context(|| format!("look at {}", escaped(args.path.as_os_str())))?;
    let row = recorded(&config, repo, &path)?;
    let is_own =
        config.agent.own_dirs.iter().any(|dir| repo.path.join(to_os(&path)).starts_with(dir));
    let document = Document {
        schema: "stampd.explain/v1",
        repo: &repo.name,
        path: path.to_lossy().into_owned(),
        path_b64: path.to_base64(),
        covered: explanation.verdict.is_visible() && !is_own,
        verdict: if is_own {
            "never: stampd's own files".to_owned()
        } else {
            verdict(&explanation)
        },
        tracked: explanation.tracked,
        kind: explanation.kind.map(kind_word),
        size: explanation.size,
        recorded: row.as_ref().map(|row| state_word(row.state)),
        digest: row.as_ref().and_then(Row::content),
        notes: notes(&reading, &explanation),
    };
    match shell.format {
        Format::Json | Format::Jsonl => print_json(&document)?,
        Format::Human => tell(&document, &path)?,
    }
    Ok(Exit::Fine)
}

/// The configured repo that holds `path`, and the path inside it.
pub(super) fn locate<'c>(
    shell: &Shell,
    config: &'c Config,
    path: &std::path::Path,
) -> anyhow::Result<(&'c RepoConfig, RepoPath)> {
    let repos = config.agent.repos.iter().map(|repo| (repo, repo.path.as_path()));
    place::locate(shell, repos, path).ok_or_else(|| {
        let list: Vec<_> = config.agent.repos.iter().map(|repo| safe(&repo.name)).collect();
        let there_are = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        let path = escaped(path.as_os_str());
        failed(
            Exit::NotFound,
            format!("find {path} in a repo of the config: there are {there_are}"),
        )
    })
}

pub(super) fn open(repo: &RepoConfig) -> anyhow::Result<Root> {
    let path = escaped(repo.path.as_os_str());
    Root::open(&repo.path).with_context(|| format!("open the repo {}: {path}", safe(&repo.name)))
}

/// What the spool knows of the path; nothing where there is no spool yet.
fn recorded(config: &Config, repo: &RepoConfig, path: &RepoPath) -> anyhow::Result<Option<Row>> {
    let Ok(reader) = open_read_only(&config.spool.state_dir) else { return Ok(None) };
    let known = reader.repos()?.into_iter().find(|known| known.root == repo.path);
    Ok(known.map(|known| reader.row(known.id, path)).transpose()?.flatten())
}

fn to_os(path: &RepoPath) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(path.as_bytes())
}

fn verdict(explanation: &Explanation) -> String {
    match &explanation.nested_in {
        Some(dir) => format!("{} ({dir})", explanation.verdict),
        None => explanation.verdict.to_string(),
    }
}

const fn kind_word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Dir => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Special => "special",
    }
}

fn state_word(state: State) -> String {
    match state {
        State::Content => "content".to_owned(),
        State::Symlink => "symlink".to_owned(),
        State::Unstable => "unstable".to_owned(),
        State::Deleted => "deleted".to_owned(),
        State::Skipped(reason) => format!("skipped: {reason}"),
    }
}

fn notes(reading: &Reading, explanation: &Explanation) -> Vec<String> {
    let limit = reading.decision.effective.max_file_size;
    let too_large = explanation
        .size
        .filter(|size| *size > limit)
        .map(|size| format!("too large to be read: {} of at most {}", bytes(size), bytes(limit)));
    let unread = explanation.unread.iter().map(|(path, reason)| format!("{path}: {reason}"));
    too_large.into_iter().chain(unread).chain(reading.decision.reason.clone()).collect()
}

fn tell(document: &Document<'_>, path: &RepoPath) -> anyhow::Result<()> {
    let mut out = Printer::new();
    out.line(&format!("{path} in {}", safe(document.repo)))?;
    out.line(&format!("  {}", safe(&document.verdict)))?;
    let kind = document.kind.unwrap_or("nothing");
    let size = document.size.map(|size| format!(", {}", bytes(size))).unwrap_or_default();
    let tracked = if document.tracked { ", tracked by git" } else { "" };
    out.line(&format!("  on disk: {kind}{size}{tracked}"))?;
    let digest = document.digest.map(|digest| format!(" {digest}")).unwrap_or_default();
    let recorded = document.recorded.as_deref().unwrap_or("never");
    out.line(&format!("  stamped: {recorded}{digest}"))?;
    for note in &document.notes {
        out.line(&format!("  {}", safe(note)))?;
    }
    out.finish()
}
