//! `stampd contracts check|init DIR`: documents that say what the program does, held against it.
//!
//! What an effect must say is made from the very numbers that the program runs by (`effects`). API,
//! topics and schemas are held against the copies in the program (`shipped`), which tests hold to what
//! it does. Prose is everybody's own: descriptions, examples and members that begin with `x-`.
//!
//! Reads only the documents that it knows, and changes none. `init` writes new files, and none over
//! one that says something else.

mod compare;
mod effects;
mod shipped;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use self::shipped::SHIPPED;
use super::exit::{Exit, failed};
use super::shell::{Format, Shell, print, print_json};
use crate::runtime::whole;

/// Larger than any contract; what is above is something else.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Name everything in which the contracts in DIR differ from this program
    Check {
        /// The directory, laid out as `init` does it
        dir: PathBuf,
    },
    /// Lay the contracts of this program out in DIR
    Init {
        /// The directory; it is made if need be
        dir: PathBuf,
    },
}

/// Where a document and the program disagree.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    /// Below the directory.
    file: String,
    /// Where the document cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// The members that lead there, with dots between; empty for the document itself.
    field: String,
    text: String,
}

/// Why a document says nothing.
#[derive(Debug)]
struct Unreadable {
    line: Option<usize>,
    text: String,
}

impl Unreadable {
    fn new(text: &str) -> Self {
        Self { line: None, text: text.to_owned() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
    fn of(error: io::Error) -> Self {
        Self::new(&format!("cannot be read: {error}"))
    }
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    documents: usize,
    differences: Vec<Difference>,
}

pub(super) fn run(shell: &Shell, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Check { dir } => check(shell, dir),
        Command::Init { dir } => init(shell, dir),
    }
}

fn check(shell: &Shell, dir: &Path) -> anyhow::Result<Exit> {
    if !dir.is_dir() {
        let text = format!(
            "check contracts: {0} is not a directory; `stampd contracts init {0}` lays them out there",
            dir.display()
        );
        return Err(failed(Exit::NotFound, text));
    }
    let differences: Vec<Difference> =
        SHIPPED.iter().flat_map(|(file, own)| differences(dir, file, own)).collect();
    let exit = if differences.is_empty() { Exit::Fine } else { Exit::Mismatch };
    if differences.is_empty() {
        let (count, version) = (SHIPPED.len(), crate::VERSION);
        shell.note(&format!("{count} contracts say what stampd {version} does"));
    }
    match shell.format {
        Format::Human => print(&lines(&differences))?,
        Format::Json => print_json(&Document {
            schema: "stampd.contracts/v1",
            documents: SHIPPED.len(),
            differences,
        })?,
        Format::Jsonl => differences.iter().try_for_each(print_json)?,
    }
    Ok(exit)
}

fn lines(differences: &[Difference]) -> String {
    let mut out = String::new();
    for Difference { file, line, field, text } in differences {
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        let field = if field.is_empty() { String::new() } else { format!(" {field}:") };
        let _ = writeln!(out, "{file}{line}:{field} {text}");
    }
    out
}

/// How the document `file` below `dir` differs from the program; `own` is the program's copy.
fn differences(dir: &Path, file: &str, own: &str) -> Vec<Difference> {
    let told = read(&dir.join(file)).and_then(|text| shipped::parse(file, &text));
    let told = match told {
        Ok(told) => told,
        Err(Unreadable { line, text }) => {
            let (file, field) = (file.to_owned(), String::new());
            return vec![Difference { file, line, field, text }];
        }
    };
    compare::differences(file, &expected(file, own, &told), &told)
}

/// What the document would say if it told of the same installation as `told` does.
fn expected(file: &str, own: &str, told: &Value) -> Value {
    match file {
        "effects/database_adapter_effect.yaml" => effects::adapter(told),
        "effects/onextree_intelligence.yaml" => effects::onextree(),
        "effects/stamping_effect.yaml" => effects::stamping(told),
        _ => shipped::parse(file, own).expect("the program's copies are read by tests"),
    }
}

/// The text of a document.
fn read(path: &Path) -> Result<String, Unreadable> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    file.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Unreadable::of)?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(Unreadable::new("is no contract: it is larger than 4 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| Unreadable {
        line: Some(line_of(error.as_bytes(), error.utf8_error().valid_up_to())),
        text: "is not UTF-8".to_owned(),
    })
}

/// Opens a plain file: nothing that could block.
fn open(path: &Path) -> Result<fs::File, Unreadable> {
    let meta = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Unreadable::new("is missing; `stampd contracts init` lays it out")
        }
        _ => Unreadable::of(error),
    })?;
    if !meta.is_file() {
        return Err(Unreadable::new("is no file"));
    }
    fs::File::open(path).map_err(Unreadable::of)
}

/// The line in which a byte stands, from 1.
fn line_of(bytes: &[u8], at: usize) -> usize {
    bytes[..at].split(|byte| *byte == b'\n').count()
}

fn init(shell: &Shell, dir: &Path) -> anyhow::Result<Exit> {
    let differs = |(file, own): &&(&str, &str)| {
        let path = dir.join(file);
        // What cannot be looked at is left alone too.
        path.symlink_metadata().is_ok() && fs::read(&path).ok().as_deref() != Some(own.as_bytes())
    };
    let taken: Vec<&str> = SHIPPED.iter().filter(differs).map(|(file, _)| *file).collect();
    if !taken.is_empty() {
        let text = format!(
            "lay contracts out in {}: these say something else already: {}; nothing was written; \
             move them away, or see `stampd contracts check`",
            dir.display(),
            taken.join(", ")
        );
        return Err(failed(Exit::Usage, text));
    }
    for (file, own) in SHIPPED {
        let path = dir.join(file);
        let parent = path.parent().expect("a file below a directory has a parent");
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        lay_out(&path, own).with_context(|| format!("write {}", path.display()))?;
        print(&format!("{}\n", path.display()))?;
    }
    shell.note(&format!(
        "`stampd contracts check {}` holds them against the program",
        dir.display()
    ));
    Ok(Exit::Fine)
}

/// Writes a document whole, or leaves it as it is where it says the same already.
fn lay_out(path: &Path, own: &str) -> io::Result<()> {
    match whole::write_new(path, own.as_bytes(), 0o644) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Somebody else may have come first since it was looked at.
            if fs::read(path)? == own.as_bytes() { Ok(()) } else { Err(error) }
        }
        done => done,
    }
}
