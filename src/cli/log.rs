//! `stampd log` and `stampd show`: stamps as they were hashed, or for a person to read.
//!
//! Both read the spool itself, with or without an agent.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::value::RawValue;

use super::exit::{Exit, failed};
use super::place::{Record, escaped};
use super::shell::{Format, Printer, Shell, print_json};
use super::table::{bytes, local, safe};
use crate::model::digest::Digest;
use crate::model::path::RepoPath;
use crate::model::stamp::Sealed;
use crate::runtime::clock::Clock;
use crate::runtime::time::Timestamp;
use crate::spool::RepoInfo;

#[derive(Debug, clap::Args)]
pub(super) struct LogArgs {
    /// A file, or a directory for all that is below it; it need not be there any more
    #[arg(required_unless_present = "all")]
    path: Option<PathBuf>,
    /// Every stamp of whole repos, and of what came through the API, oldest first
    #[arg(long, conflicts_with = "path")]
    all: bool,
    /// Of this repo alone
    #[arg(long, value_name = "NAME", requires = "all")]
    repo: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<usize>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// A BLAKE3 digest: 64 hexadecimal digits, as `stampd hash` prints them
    hash: Digest,
}

/// Prints the history of a path, newest first, or of whole repos, oldest first.
pub(super) fn log(shell: &Shell, args: &LogArgs) -> anyhow::Result<Exit> {
    let record = Record::open(&shell.config()?)?;
    let limit = args.limit.unwrap_or(usize::MAX);
    let Some(path) = args.path.as_deref().filter(|_| !args.all) else {
        return log_all(shell, &record, args.repo.as_deref(), limit);
    };
    let (repo, inside) = record.locate(shell, path)?;
    let mut stamps = record.reader.history(repo.id, &inside, limit)?;
    if stamps.is_empty() {
        stamps = below(&record, repo, &inside, limit)?;
    }
    if stamps.is_empty() {
        return Err(failed(Exit::NotFound, never_stamped(path)));
    }
    print_stamps(shell, stamps.into_iter().map(Ok))
}

fn never_stamped(path: &Path) -> String {
    let path = escaped(path.as_os_str());
    format!("find a stamp of {path}: see `stampd explain {path}` whether it is covered")
}

/// The stamps of everything below a directory, newest first.
fn below(
    record: &Record,
    repo: &RepoInfo,
    dir: &RepoPath,
    limit: usize,
) -> anyhow::Result<Vec<Sealed>> {
    let is_below = |path: &Option<RepoPath>| path.as_ref().is_some_and(|path| path.is_within(dir));
    let mut stamps = Vec::new();
    for sealed in record.reader.all(repo.id) {
        let sealed = sealed?;
        if is_below(&sealed.stamp.path) || is_below(&sealed.stamp.from) {
            stamps.push(sealed);
        }
    }
    stamps.reverse();
    stamps.truncate(limit);
    Ok(stamps)
}

fn log_all(
    shell: &Shell,
    record: &Record,
    name: Option<&str>,
    limit: usize,
) -> anyhow::Result<Exit> {
    let mut repos: Vec<_> = record.named(name)?.iter().map(|repo| repo.id).collect();
    if name.is_none() {
        repos.extend(record.reader.contents()?.map(|contents| contents.repo));
    }
    let stamps = repos.into_iter().flat_map(|repo| record.reader.all(repo));
    print_stamps(shell, stamps.take(limit).map(|sealed| Ok(sealed?)))
}

/// Prints every stamp of a content.
pub(super) fn show(shell: &Shell, args: &ShowArgs) -> anyhow::Result<Exit> {
    let record = Record::open(&shell.config()?)?;
    let stamps = record.reader.by_digest(&args.hash)?;
    if stamps.is_empty() {
        let text = format!("find a stamp of the content {}: this spool never saw it", args.hash);
        return Err(failed(Exit::NotFound, text));
    }
    print_stamps(shell, stamps.into_iter().map(Ok))
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    stamps: Vec<Box<RawValue>>,
}

fn print_stamps(
    shell: &Shell,
    stamps: impl Iterator<Item = anyhow::Result<Sealed>>,
) -> anyhow::Result<Exit> {
    match shell.format {
        // One body per line, byte for byte what its leaf hashes.
        Format::Jsonl => {
            let mut out = Printer::new();
            for sealed in stamps {
                out.line(&sealed?.body)?;
            }
            out.finish()?;
        }
        Format::Json => {
            let bodies = stamps.map(|sealed| Ok(RawValue::from_string(sealed?.body)?));
            let stamps = bodies.collect::<anyhow::Result<_>>()?;
            print_json(&Document { schema: "stampd.log/v1", stamps })?;
        }
        Format::Human => {
            let now = Clock::system().now();
            let mut out = Printer::new();
            for sealed in stamps {
                out.line(&line(&sealed?, now))?;
            }
            out.finish()?;
        }
    }
    Ok(Exit::Fine)
}

/// When, what, the start of the digest, how large, which path, and from where or why.
fn line(sealed: &Sealed, now: Timestamp) -> String {
    let stamp = &sealed.stamp;
    let digest = stamp.digest.map(|digest| digest.to_string());
    let digest = digest.as_deref().map_or("-", |digest| &digest[..12]);
    let size = stamp.size.map_or_else(|| "-".to_owned(), bytes);
    let when = local(stamp.stamped, now);
    let what = match (&stamp.path, &stamp.detail.place, &stamp.context.repo) {
        (Some(path), _, _) => path.to_string(),
        (None, Some(place), _) => safe(place),
        (None, None, Some(repo)) => format!("({})", safe(repo)),
        (None, None, None) => "(api)".to_owned(),
    };
    let from = stamp.from.as_ref().map(|from| format!("  from {from}")).unwrap_or_default();
    let reason = stamp.detail.reason.as_deref().map(|reason| format!("  {}", safe(reason)));
    let reason = reason.unwrap_or_default();
    format!(
        "{when:<19}  {:<10}  {digest:<12}  {size:>10}  {what}{from}{reason}",
        stamp.kind.as_str()
    )
}
