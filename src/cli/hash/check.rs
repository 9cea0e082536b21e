//! `stampd hash --check`: what the lines of a checksum file claim, and whether it holds.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::super::exit::{Exit, failed};
use super::super::place::escaped;
use super::{Desk, Reader, Word};
use crate::model::digest::Digest;

/// Lines that are read before any is checked: a list of any length fits in memory.
const LINES_MAX: usize = 4_096;

/// Checks every line of a file.
pub(super) fn check_file(desk: &mut Desk, path: &Path) -> anyhow::Result<()> {
    let mut reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(|error| unread(path, &error))?;
        Box::new(BufReader::new(file))
    };
    loop {
        let (lines, is_end) = some_lines(&mut *reader);
        let claims: Vec<_> = lines.iter().map(|line| Claim::parse(line)).collect();
        let claimed = claims.iter().flatten();
        desk.reader.expect(claimed.map(|claim| Path::new(&claim.name)));
        let quiet = desk.quiet;
        desk.tell_each(&claims, |reader, claim| judge(reader, claim, quiet))?;
        // An error counts once what was read before it has been checked.
        if is_end.map_err(|error| unread(path, &error))? {
            return Ok(());
        }
    }
}

/// The next lines, and whether there are no more.
fn some_lines(reader: &mut dyn BufRead) -> (Vec<String>, io::Result<bool>) {
    let mut lines = Vec::new();
    while lines.len() < LINES_MAX {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) => return (lines, Ok(true)),
            Ok(_) => lines.push(line),
            Err(error) => return (lines, Err(error)),
        }
    }
    (lines, Ok(false))
}

/// A checksum file that cannot be read ends the check. The code is `b3sum`'s whatever the reason,
/// where a denied read elsewhere has a code of its own.
fn unread(path: &Path, error: &io::Error) -> anyhow::Error {
    failed(Exit::Unexpected, format!("read {}: {error}", escaped(path.as_os_str())))
}

fn judge(reader: &Reader, claim: &Result<Claim, &'static str>, quiet: bool) -> Word {
    let claim = match claim {
        Ok(claim) => claim,
        Err(wrong) => return Word::Complaint((*wrong).to_owned()),
    };
    let shown = reader.shown(claim.shown.clone());
    match reader.digest(Path::new(&claim.name)) {
        Ok(found) if found == claim.digest => Word::Fine((!quiet).then(|| format!("{shown}: OK"))),
        Ok(_) => Word::Wrong(format!("{shown}: FAILED")),
        Err(error) => Word::Wrong(format!("{shown}: FAILED ({error})")),
    }
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

#[cfg(test)]
mod tests {
    use super::super::super::exit::report;
    use super::super::written;
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
