//! `stampd validate FILE…`: do the stamps inside files hold?
//!
//! Reads the files and nothing else: no agent, no server, no spool. Whether stampd has recorded a
//! content is `show`'s and `verify`'s business.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit::Exit;
use super::place::escaped;
use super::rewrite::{TextError, read_text};
use super::shell::{Format, Printer, Shell, print_json};
use super::table::safe;
use crate::model::digest::Digest;
use crate::model::onex_text::{self, Check, Detail, Rules};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Texts with stamps in them; - for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Compare the exact bytes without the stamp, instead of the text without white space around it
    #[arg(long)]
    strict: bool,
    /// What every stamp has to say
    #[arg(long, value_name = "HASH")]
    expect: Option<Digest>,
}

/// What is to be said of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// All its stamps hold.
    Valid,
    /// A stamp says another hash than the text has.
    Invalid,
    /// There is no stamp.
    Unstamped,
    /// There is no text.
    Unreadable,
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Unstamped => "unstamped",
            Self::Unreadable => "unreadable",
        })
    }
}

#[derive(Debug, Serialize)]
struct Entry {
    path: String,
    /// For a terminal.
    #[serde(skip)]
    shown: String,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// How the command ends if nothing is worse.
    #[serde(skip)]
    exit: Exit,
    stamps_found: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_hash: Option<Digest>,
    validation_details: Vec<Detail>,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    is_valid: bool,
    files: Vec<Entry>,
}

pub(super) fn run(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let expected = args.expect.map(|hash| hash.to_string());
    let rules = Rules { strict: args.strict, expected_hash: expected.as_deref() };
    let entries = args.files.iter().map(|path| entry(path, rules));
    let mut exit = Exit::Fine;
    let entries = entries.inspect(|entry| exit = worse(exit, entry.exit));
    match shell.format {
        Format::Json => {
            let files: Vec<_> = entries.collect();
            let is_valid = files.iter().all(|entry| entry.verdict == Verdict::Valid);
            print_json(&Document { schema: "stampd.validate/v1", is_valid, files })?;
        }
        Format::Jsonl => {
            for entry in entries {
                print_json(&entry)?;
            }
        }
        Format::Human => {
            let mut out = Printer::new();
            for entry in entries.filter(|one| !shell.is_quiet() || one.verdict != Verdict::Valid) {
                tell(&entry, &mut out)?;
            }
            out.finish()?;
        }
    }
    Ok(exit)
}

/// A stamp that does not hold is worse than a file that could not be read, and the first of those
/// decides.
fn worse(so_far: Exit, next: Exit) -> Exit {
    if so_far == Exit::Fine || next == Exit::Mismatch { next } else { so_far }
}

fn entry(path: &Path, rules: Rules<'_>) -> Entry {
    let empty = Entry {
        path: path.to_string_lossy().into_owned(),
        shown: escaped(path.as_os_str()),
        verdict: Verdict::Unreadable,
        error: None,
        exit: Exit::Fine,
        stamps_found: 0,
        current_hash: None,
        validation_details: Vec::new(),
    };
    match read_text(path) {
        Ok(text) => judged(empty, onex_text::check(&text, rules)),
        Err(error) => {
            let exit = match error {
                // Whatever it holds, no stamp in it is one that holds.
                TextError::NotText => Exit::Mismatch,
                TextError::Unreadable(_) | TextError::TooLarge => error.exit(),
            };
            Entry { error: Some(error.to_string()), exit, ..empty }
        }
    }
}

fn judged(empty: Entry, check: Check) -> Entry {
    let (verdict, exit) = match (check.found, check.holds) {
        (0, _) => (Verdict::Unstamped, Exit::Mismatch),
        (_, false) => (Verdict::Invalid, Exit::Mismatch),
        (_, true) => (Verdict::Valid, Exit::Fine),
    };
    Entry {
        verdict,
        exit,
        stamps_found: check.found,
        current_hash: Some(check.current_hash),
        validation_details: check.details,
        ..empty
    }
}

fn tell(entry: &Entry, out: &mut Printer) -> anyhow::Result<()> {
    let head = format!("{:<10}  {}", entry.verdict, entry.shown);
    match &entry.error {
        Some(error) => out.line(&format!("{head}: {error}"))?,
        None => out.line(&head)?,
    }
    for wrong in entry.validation_details.iter().filter(|detail| !detail.is_valid) {
        let (kind, current) = (wrong.kind.as_str(), wrong.current_hash.to_string());
        let said = wrong.stamp_hash.as_deref().map_or_else(|| "no hash".to_owned(), safe);
        let why = if said == current {
            ", as the text has, but not the expected one".to_owned()
        } else {
            format!(", the text has {current}")
        };
        out.line(&format!("            {kind} stamp says {said}{why}"))?;
    }
    Ok(())
}
