//! `stampd verify`: does the disk still hold what was stamped?
//!
//! Reads every file again, with or without an agent, and compares it with the newest stamp of its
//! path. What has never been stamped is not its business: that is `scan`'s.

use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use indicatif::ProgressBar;
use rayon::prelude::*;
use rustc_hash::FxHasher;
use serde::Serialize;

use super::exit::{Exit, failed};
use super::place::{Record, escaped};
use super::progress::over_bytes;
use super::shell::{Format, Printer, Shell, print_json};
use super::table::{count, safe};
use crate::hash;
use crate::hash::{Hasher, Outcome, granule};
use crate::model::change::{Row, State};
use crate::model::digest::Digest;
use crate::model::path::RepoPath;
use crate::runtime::clock::Clock;
use crate::runtime::rooted::Root;
use crate::spool::RepoInfo;

/// How often a file that was written to a moment ago is asked again before it counts as changing.
const FRESH_ATTEMPTS_MAX: u32 = 8;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file or a directory; without it, every repo
    path: Option<PathBuf>,
    /// Only a random share of the files, such as 5%
    #[arg(long, value_name = "SHARE")]
    sample: Option<Share>,
}

/// A share in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share(u64);

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "write a share above 0% and up to 100%, such as 5% or 0.5%";
        let percent: f64 =
            text.strip_suffix('%').ok_or(WRONG)?.trim().parse().map_err(|_| WRONG)?;
        let millionths = (percent * 10_000.0).round();
        if (1.0..=1_000_000.0).contains(&millionths) {
            Ok(Self(millionths as u64))
        } else {
            Err(WRONG)
        }
    }
}

impl Share {
    /// Whether a path is in the sample that `seed` stands for.
    fn takes(self, path: &RepoPath, seed: i64) -> bool {
        let mut hasher = FxHasher::default();
        (path.as_bytes(), seed).hash(&mut hasher);
        // The upper half is the better mixed one.
        let millionth = ((hasher.finish() >> 32) * 1_000_000) >> 32;
        millionth < self.0
    }
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Fault {
    /// It holds something else.
    Modified,
    /// It is not there.
    Missing,
    /// It is of another type.
    OtherType,
    /// It cannot be read.
    Unreadable,
    /// It kept changing while it was read.
    Changing,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Modified => "modified",
            Self::Missing => "missing",
            Self::OtherType => "other type",
            Self::Unreadable => "unreadable",
            Self::Changing => "changing",
        })
    }
}

/// A path that is not as it was stamped.
#[derive(Debug, Serialize)]
struct Difference {
    repo: String,
    /// For a terminal.
    #[serde(skip)]
    shown: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
    fault: Fault,
    stamped: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Digest>,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    verified: usize,
    differences: Vec<Difference>,
}

/// The rows of one repo that can be verified.
struct Part<'r> {
    repo: &'r RepoInfo,
    rows: Vec<(RepoPath, Row)>,
}

pub(super) fn run(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let config = shell.config()?;
    let record = Record::open(&config)?;
    let parts = parts(shell, &record, args)?;
    // In the foreground somebody waits: these threads do not yield.
    let hasher = Hasher::new(hash::Config { background: false, ..config.hash.clone() })?;
    let verified: usize = parts.iter().map(|part| part.rows.len()).sum();
    let rows = parts.iter().flat_map(|part| &part.rows);
    let bar = over_bytes(shell, rows.filter_map(|(_, row)| Some(row.mark?.size)).sum());
    let mut differences = Vec::new();
    for part in &parts {
        differences.extend(compare(part, &hasher, &bar)?);
    }
    bar.finish_and_clear();
    tell(shell, verified, differences)
}

fn parts<'r>(shell: &Shell, record: &'r Record, args: &Args) -> anyhow::Result<Vec<Part<'r>>> {
    let places = match &args.path {
        Some(path) => vec![record.locate(shell, path)?],
        None => record.repos.iter().map(|repo| (repo, RepoPath::root())).collect(),
    };
    let seed = Clock::system().now().as_nanos();
    let mut parts = Vec::new();
    for (repo, inside) in places {
        let mut rows = record.reader.rows_within(repo.id, &inside)?;
        rows.retain(|(path, row)| {
            let known = matches!(row.state, State::Content | State::Symlink);
            known && args.sample.is_none_or(|share| share.takes(path, seed))
        });
        parts.push(Part { repo, rows });
    }
    if args.sample.is_none() && parts.iter().all(|part| part.rows.is_empty()) {
        let what = args.path.as_ref().map(|path| escaped(path.as_os_str()));
        let what = what.unwrap_or_else(|| "in any repo".to_owned());
        let text = format!("find a stamped content {what}: see `stampd explain` and `stampd scan`");
        return Err(failed(Exit::NotFound, text));
    }
    Ok(parts)
}

/// Reads the files of one repo, on all threads.
fn compare(part: &Part<'_>, hasher: &Hasher, bar: &ProgressBar) -> anyhow::Result<Vec<Difference>> {
    let root = match Root::open(&part.repo.root) {
        Ok(root) => root,
        Err(error) => {
            let place = escaped(part.repo.root.as_os_str());
            return Err(error)
                .with_context(|| format!("open the repo {}: {place}", part.repo.name));
        }
    };
    let check = |(path, row): &(RepoPath, Row)| {
        bar.set_message(path.to_string());
        let outcome = settled(hasher, &root, path);
        bar.inc(row.mark.map_or(0, |mark| mark.size));
        let (fault, found) = judge(row, outcome)?;
        Some(Difference {
            repo: part.repo.name.clone(),
            shown: path.to_string(),
            path: path.to_lossy().into_owned(),
            path_b64: path.to_base64(),
            fault,
            stamped: row.digest,
            found,
        })
    };
    Ok(hasher.pool().install(|| part.rows.par_iter().filter_map(check).collect()))
}

/// Hashes a file; one that was written to a moment ago, a moment later.
fn settled(hasher: &Hasher, root: &Root, path: &RepoPath) -> Outcome {
    let stop = AtomicBool::new(false);
    let mut outcome = hasher.digest(root, path, &stop);
    for _ in 0..FRESH_ATTEMPTS_MAX {
        if !matches!(outcome, Outcome::TooFresh) {
            break;
        }
        std::thread::sleep(granule());
        outcome = hasher.digest(root, path, &stop);
    }
    outcome
}

/// What is wrong with a path, if anything is.
fn judge(row: &Row, outcome: Outcome) -> Option<(Fault, Option<Digest>)> {
    match (row.state, outcome) {
        (State::Content, Outcome::Digest { digest, .. }) => {
            (row.digest != Some(digest)).then_some((Fault::Modified, Some(digest)))
        }
        (State::Symlink, Outcome::Symlink { target, .. }) => {
            let digest = Digest::of(&target);
            (row.digest != Some(digest)).then_some((Fault::Modified, Some(digest)))
        }
        (_, Outcome::Gone) => Some((Fault::Missing, None)),
        (_, Outcome::Unstable { .. } | Outcome::TooFresh | Outcome::Stopped) => {
            Some((Fault::Changing, None))
        }
        (_, Outcome::Skipped { .. } | Outcome::Failed(_)) => Some((Fault::Unreadable, None)),
        (_, Outcome::Digest { digest, .. }) => Some((Fault::OtherType, Some(digest))),
        (_, Outcome::Symlink { .. } | Outcome::Directory(_)) => Some((Fault::OtherType, None)),
    }
}

fn tell(shell: &Shell, verified: usize, differences: Vec<Difference>) -> anyhow::Result<Exit> {
    let (all, wrong) = (count(verified as u64), count(differences.len() as u64));
    let exit = if differences.is_empty() { Exit::Fine } else { Exit::Mismatch };
    match shell.format {
        Format::Json => {
            print_json(&Document { schema: "stampd.verify/v1", verified, differences })?;
        }
        Format::Jsonl => differences.iter().try_for_each(print_json)?,
        Format::Human => {
            let mut out = Printer::new();
            for one in &differences {
                out.line(&format!("{:<10}  {}: {}", one.fault, safe(&one.repo), one.shown))?;
            }
            out.finish()?;
        }
    }
    shell.note(&match exit {
        Exit::Fine => format!("{all} paths are as they were stamped"),
        _ => format!("{wrong} of {all} paths differ; changes just made are stamped within seconds"),
    });
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage_and_takes_about_that_many() {
        assert_eq!("5%".parse(), Ok(Share(50_000)));
        assert_eq!("0.5 %".parse(), Ok(Share(5_000)));
        for bad in ["5", "0%", "101%", "-1%", "%", "nan%"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
        let paths: Vec<_> =
            (0..10_000).map(|n| RepoPath::root().join(format!("f{n}").as_bytes())).collect();
        let taken = paths.iter().filter(|path| Share(50_000).takes(path, 42)).count();
        assert!((350..650).contains(&taken), "{taken}");
        assert!(paths.iter().all(|path| Share(1_000_000).takes(path, 7)));
    }
}
