//! The newest lines of the log: of the daily files, or of the journal.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::config::Config;

/// What goes into a report, at most: the newest.
const BYTES_MAX: u64 = 2 << 20;
const LINES_MAX: &str = "-n5000";

/// The newest of the log, or why there is none.
pub(super) fn newest(config: &Config) -> String {
    match &config.telemetry.directory {
        Some(directory) => of_files(directory),
        None => of_journal(),
    }
}

fn of_files(directory: &Path) -> String {
    let mut files: Vec<PathBuf> = match fs::read_dir(directory) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) => return format!("the log files cannot be read: {error}\n"),
    };
    files.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
    // Their names hold the day.
    files.sort();
    let mut left = BYTES_MAX;
    let mut newest_first = Vec::new();
    for file in files.iter().rev() {
        let text = tail(file, left).unwrap_or_else(|error| format!("cannot be read: {error}\n"));
        left = left.saturating_sub(text.len() as u64);
        newest_first.push(text);
        if left == 0 {
            break;
        }
    }
    newest_first.into_iter().rev().collect()
}

/// The last whole lines of a file, at most so many bytes.
fn tail(file: &Path, bytes_max: u64) -> std::io::Result<String> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
    file.take(bytes_max).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let cut = length > bytes_max;
    Ok(if cut { text.split_once('\n').map_or("", |(_, rest)| rest).to_owned() } else { text })
}

fn of_journal() -> String {
    let args = ["--user", "--no-pager", "--output=short-iso", LINES_MAX, "-u", "stampd"];
    match Command::new("journalctl").args(args).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("the journal cannot be read: {said}\n")
        }
        Err(error) => format!("no [telemetry] log_dir, and no journal: {error}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_lines_are_kept_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("stampd.2026-01-02.log", "three\nfour\n");
        write("stampd.2026-01-01.log", "one\ntwo\n");
        write("else.txt", "no\n");
        assert_eq!(of_files(dir.path()), "one\ntwo\nthree\nfour\n");
        assert_eq!(tail(&dir.path().join("stampd.2026-01-01.log"), 6).unwrap(), "two\n");
    }
}
