//! `stampd hash FILE…`: BLAKE3 in the format of `b3sum`, and `--check` of what it wrote.
//!
//! Output, escaping and exit codes are `b3sum`'s, so that either can check what the other wrote.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::exit::{Exit, failed};
use super::place::escaped;
use super::shell::{Printer, Shell};
use crate::hash::hash_stream;
use crate::model::digest::Digest;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files to hash; - or none for standard input
    #[arg(default_value = "-", hide_default_value = true)]
    files: Vec<OsString>,
    /// Read digests and names from these files, and check them: exits 1 when one differs
    #[arg(long, short)]
    check: bool,
    /// Print digests only
    #[arg(long, conflicts_with = "check")]
    no_names: bool,
    /// Print BLAKE3 (name) = digest
    #[arg(long, conflicts_with_all = ["check", "no_names"])]
    tag: bool,
}

pub(super) fn run(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let mut out = Printer::new();
    let mut failures: u64 = 0;
    for file in &args.files {
        failures += if args.check {
            check_file(shell, file.as_ref(), &mut out)?
        } else {
            hash_file(args, file.as_ref(), &mut out)?
        };
    }
    out.finish()?;
    if args.check && failures > 0 {
        let plural = if failures == 1 { "" } else { "s" };
        complain(&format!("WARNING: {failures} computed checksum{plural} did NOT match"));
    }
    Ok(if failures == 0 { Exit::Fine } else { Exit::Unexpected })
}

fn digest(path: &Path) -> io::Result<Digest> {
    if path == Path::new("-") {
        return hash_stream(io::stdin().lock());
    }
    hash_stream(File::open(path)?)
}

/// Hashes one file and returns how many failed. A file that cannot be read does not keep the others
/// from being hashed.
fn hash_file(args: &Args, path: &Path, out: &mut Printer) -> anyhow::Result<u64> {
    let digest = match digest(path) {
        Ok(digest) => digest,
        Err(error) => {
            complain(&format!("{}: {error}", escaped(path.as_os_str())));
            return Ok(1);
        }
    };
    let (mark, name) = written(path);
    out.line(&match (args.no_names, args.tag) {
        (true, _) => digest.to_string(),
        (false, true) => format!("{mark}BLAKE3 ({name}) = {digest}"),
        (false, false) => format!("{mark}{digest}  {name}"),
    })?;
    Ok(0)
}

/// A name as it stands on a line, and the mark of a line on which it is escaped.
fn written(path: &Path) -> (&'static str, String) {
    let name = path.to_string_lossy();
    if !name.contains(['\\', '\n', '\r']) {
        return ("", name.into_owned());
    }
    ("\\", name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r"))
}

/// Checks every line of a file and returns how many failed.
fn check_file(shell: &Shell, path: &Path, out: &mut Printer) -> anyhow::Result<u64> {
    let mut reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(|error| unread(path, &error))?;
        Box::new(BufReader::new(file))
    };
    let (mut failures, mut line) = (0, String::new());
    while reader.read_line(&mut line).map_err(|error| unread(path, &error))? > 0 {
        failures += u64::from(!check_line(shell, &line, out)?);
        line.clear();
    }
    Ok(failures)
}

/// A checksum file that cannot be read ends the check. The code is `b3sum`'s whatever the reason,
/// where a denied read elsewhere has a code of its own.
fn unread(path: &Path, error: &io::Error) -> anyhow::Error {
    failed(Exit::Unexpected, format!("read {}: {error}", escaped(path.as_os_str())))
}

fn check_line(shell: &Shell, line: &str, out: &mut Printer) -> anyhow::Result<bool> {
    let claim = match Claim::parse(line) {
        Ok(claim) => claim,
        Err(wrong) => {
            complain(wrong);
            return Ok(false);
        }
    };
    let shown = claim.shown;
    match digest(Path::new(&claim.name)) {
        Ok(found) if found == claim.digest => {
            if !shell.is_quiet() {
                out.line(&format!("{shown}: OK"))?;
            }
            return Ok(true);
        }
        Ok(_) => out.line(&format!("{shown}: FAILED"))?,
        Err(error) => out.line(&format!("{shown}: FAILED ({error})"))?,
    }
    Ok(false)
}

/// What a line says of a file.
#[derive(Debug, PartialEq, Eq)]
struct Claim {
    digest: Digest,
    name: String,
    /// The name as it stands on the line.
    shown: String,
}

impl Claim {
    /// Reads `digest  name` or `BLAKE3 (name) = digest`. Strict: a check shall rather fail too often
    /// than once too seldom.
    fn parse(line: &str) -> Result<Self, &'static str> {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            return Err("Empty line");
        }
        let (is_escaped, rest) = line.strip_prefix('\\').map_or((false, line), |rest| (true, rest));
        let tagged = || rest.strip_prefix("BLAKE3 (")?.rsplit_once(") = ");
        let plain = rest.split_once("  ");
        let (digest, written) = plain
            .or_else(|| tagged().map(|(name, digest)| (digest, name)))
            .ok_or("Invalid check line format")?;
        if digest.len() != 64 {
            return Err("Invalid hash length");
        }
        if digest.contains(|digit: char| digit.is_ascii_uppercase()) {
            return Err("Invalid hex");
        }
        let digest = digest.parse().map_err(|_| "Invalid hex")?;
        let name = if is_escaped { unescape(written)? } else { written.to_owned() };
        if name.is_empty() {
            return Err("empty file path");
        }
        if name.contains('\0') {
            return Err("Null character in path");
        }
        // Names that are not UTF-8 are written with it, and several of them alike.
        if name.contains('\u{fffd}') {
            return Err("Unicode replacement character in path");
        }
        let shown = if is_escaped { format!("\\{written}") } else { written.to_owned() };
        Ok(Self { digest, name, shown })
    }
}

fn unescape(written: &str) -> Result<String, &'static str> {
    let mut name = String::with_capacity(written.len());
    let mut letters = written.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            name.push(letter);
            continue;
        }
        name.push(match letters.next() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('\\') => '\\',
            _ => return Err("Invalid backslash escape"),
        });
    }
    Ok(name)
}

/// In `b3sum`'s way: its name, and what is wrong.
fn complain(text: &str) {
    use std::io::Write as _;
    // Without stderr there is nobody to tell.
    let _ = writeln!(io::stderr(), "stampd: {text}");
}

#[cfg(test)]
mod tests {
    use super::super::exit::report;
    use super::*;

    const HASH: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

    #[test]
    fn what_is_written_reads_back() {
        let check = |line: &str, name: &str| assert_eq!(Claim::parse(line).unwrap().name, name);
        for name in ["a", "two  blanks", "back\\slash", "new\nline\r", "a) = b", "ü"] {
            let (mark, written) = written(Path::new(name));
            check(&format!("{mark}{HASH}  {written}"), name);
            if !name.contains("  ") {
                check(&format!("{mark}BLAKE3 ({written}) = {HASH}"), name);
            }
        }
    }

    #[test]
    fn a_checksum_file_that_may_not_be_read_ends_with_one_as_any_failure_does() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(report(&unread(Path::new("sums"), &denied)), Exit::Unexpected);
    }

    #[test]
    fn a_line_that_could_mean_something_else_is_refused() {
        let check = |line: &str, wrong: &str| assert_eq!(Claim::parse(line), Err(wrong), "{line}");
        check("\r\n", "Empty line");
        check(&format!("{HASH} a"), "Invalid check line format");
        check(&format!("{}  a", &HASH[1..]), "Invalid hash length");
        check(&format!("{}  a", HASH.to_uppercase()), "Invalid hex");
        check(&format!("{}  a", HASH.replace('a', "g")), "Invalid hex");
        check(&format!("{HASH}  "), "empty file path");
        check(&format!("{HASH}  a\u{fffd}"), "Unicode replacement character in path");
        check(&format!("{HASH}  a\0"), "Null character in path");
        check(&format!("\\{HASH}  a\\t"), "Invalid backslash escape");
        check(&format!("\\{HASH}  a\\"), "Invalid backslash escape");
    }
}
