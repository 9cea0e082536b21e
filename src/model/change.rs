//! What an observation of a path makes of what was known of it: the decision behind every stamp.
//!
//! Pure: given the row that the index holds and what was seen, says whether that is a stamp, and of
//! which kind, and what the row becomes. Looking is the scan's work, keeping rows is the spool's.

use super::digest::Digest;
use super::path::RepoPath;
use super::stamp::{Kind, SkipReason};
use crate::runtime::rooted::Stat;
use crate::runtime::time::Timestamp;

/// What was seen at a path.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Where.
    pub path: RepoPath,
    /// When the first hint of it came.
    pub seen: Timestamp,
    /// What.
    pub what: What,
}

/// The kinds of things that can be seen at a path.
#[derive(Clone, Debug)]
pub enum What {
    /// One consistent version of a regular file.
    File {
        /// From the fstat that framed the read.
        stat: Stat,
        /// Of exactly its bytes.
        digest: Digest,
        /// It may have changed again within the granularity of its ctime.
        racy: bool,
        /// The old path, when this is a file that was known under another name.
        from: Option<RepoPath>,
    },
    /// A symbolic link.
    Symlink {
        /// Of the link itself.
        stat: Stat,
        /// Its text.
        target: Vec<u8>,
    },
    /// Something that is not read.
    Skipped {
        /// Its stat, when it could be had.
        stat: Option<Stat>,
        /// Why it is not read.
        reason: SkipReason,
    },
    /// A regular file that kept changing while it was read.
    Unstable {
        /// The last stat.
        stat: Stat,
    },
    /// Nothing, or a directory.
    Gone,
}

/// What is kept of a stat. `dev` is not: it is given anew at every mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Inode number.
    pub ino: u64,
    /// Birth time, where the file system keeps one.
    pub btime_ns: Option<i64>,
    /// Size in bytes.
    pub size: u64,
    /// Modification time.
    pub mtime_ns: i64,
    /// Change time.
    pub ctime_ns: i64,
    /// Permission bits (07777).
    pub mode: u32,
    /// Number of names.
    pub nlink: u32,
}

impl From<&Stat> for Mark {
    fn from(stat: &Stat) -> Self {
        Self {
            ino: stat.ino,
            btime_ns: stat.btime_ns,
            size: stat.size,
            mtime_ns: stat.mtime_ns,
            ctime_ns: stat.ctime_ns,
            mode: stat.mode,
            nlink: stat.nlink,
        }
    }
}

/// What the newest stamp of a path says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A regular file whose digest is known.
    Content,
    /// A symbolic link.
    Symlink,
    /// A regular file that kept changing.
    Unstable,
    /// Nothing is there.
    Deleted,
    /// Something that is not read.
    Skipped(SkipReason),
}

impl State {
    /// Whether something is there that is covered.
    pub fn is_present(self) -> bool {
        !matches!(self, Self::Deleted | Self::Skipped(SkipReason::Ignored))
    }
}

/// What is known of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The last stat; none when none could be had yet.
    pub mark: Option<Mark>,
    /// Of the last known content, also while the file is unstable or skipped; of the text, for a
    /// symbolic link.
    pub digest: Option<Digest>,
    /// What is there.
    pub state: State,
    /// Its stat proves nothing: it is to be hashed once more.
    pub racy: bool,
}

impl Row {
    /// Whether something is there that is covered.
    pub fn is_present(&self) -> bool {
        self.state.is_present()
    }

    /// The digest of the last known content of what is there.
    pub fn content(&self) -> Option<Digest> {
        match self.state {
            State::Content | State::Unstable | State::Skipped(_) => self.digest,
            State::Symlink | State::Deleted => None,
        }
    }

    /// Whether an unchanged stat means that there is nothing to do.
    pub fn is_steady(&self) -> bool {
        match self.state {
            State::Content | State::Symlink => !self.racy,
            State::Skipped(reason) => match reason {
                SkipReason::Special => true,
                // Limits, rights and rules change without a trace in the file's own stat.
                SkipReason::TooLarge
                | SkipReason::Sparse
                | SkipReason::Unreadable
                | SkipReason::Ignored => false,
            },
            State::Unstable | State::Deleted => false,
        }
    }

    /// What is known after `what` was seen where `before` was known.
    pub fn after(before: Option<&Self>, what: &What) -> Self {
        let content = before.and_then(Self::content);
        match what {
            What::File { stat, digest, racy, from: _ } => Self {
                mark: Some(stat.into()),
                digest: Some(*digest),
                state: State::Content,
                racy: *racy,
            },
            What::Symlink { stat, target } => Self {
                mark: Some(stat.into()),
                digest: Some(Digest::of(target)),
                state: State::Symlink,
                racy: false,
            },
            What::Skipped { stat, reason } => Self {
                mark: stat.as_ref().map(Mark::from).or(before.and_then(|row| row.mark)),
                digest: content,
                state: State::Skipped(*reason),
                racy: false,
            },
            What::Unstable { stat } => Self {
                mark: Some(stat.into()),
                digest: content,
                state: State::Unstable,
                racy: false,
            },
            What::Gone => Self {
                mark: before.and_then(|row| row.mark),
                digest: None,
                state: State::Deleted,
                racy: false,
            },
        }
    }
}

/// What becomes of an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is a stamp.
    Stamp {
        /// Of this kind.
        kind: Kind,
        /// The digest before.
        prev: Option<Digest>,
    },
    /// Nothing a stamp would tell changed, but the row did.
    Refresh,
    /// Nothing changed.
    Nothing,
}

/// Decides about `what`, seen at a path of which `row` is known; `from` is what is known of the
/// path that `what` names as its old one.
pub fn decide(row: Option<&Row>, from: Option<&Row>, what: &What) -> Verdict {
    let present = row.filter(|row| row.is_present());
    match what {
        What::File { stat, digest, .. } => match from.and_then(Row::content) {
            Some(prev) => Verdict::Stamp { kind: Kind::Renamed, prev: Some(prev) },
            None => decide_file(present, stat, *digest, what),
        },
        What::Symlink { target, .. } => match present {
            Some(row) if row.state == State::Symlink && row.digest == Some(Digest::of(target)) => {
                refresh(row, what)
            }
            _ => stamp(Kind::Symlink, present),
        },
        What::Skipped { reason, .. } => match present {
            // One stamp for as long as the reason lasts: what is not read has nothing more to tell.
            Some(row) if row.state == State::Skipped(*reason) => refresh(row, what),
            // Nobody knew it, and nobody shall.
            None if *reason == SkipReason::Ignored => Verdict::Nothing,
            _ => stamp(Kind::Skipped, present),
        },
        What::Unstable { .. } => match present {
            // One stamp per episode.
            Some(row) if row.state == State::Unstable => Verdict::Nothing,
            _ => stamp(Kind::Unstable, present),
        },
        What::Gone => match present {
            Some(_) => stamp(Kind::Deleted, present),
            None => Verdict::Nothing,
        },
    }
}

fn decide_file(present: Option<&Row>, stat: &Stat, digest: Digest, what: &What) -> Verdict {
    let Some((row, before)) = present.and_then(|row| Some((row, row.content()?))) else {
        return Verdict::Stamp { kind: Kind::Created, prev: None };
    };
    let same_mode = row.mark.is_some_and(|mark| mark.mode == stat.mode);
    // After an unstable or skipped episode the digest is told anew, changed or not: the newest stamp
    // of the path says that nobody knows it.
    if row.state != State::Content || digest != before {
        stamp(Kind::Modified, present)
    } else if same_mode {
        refresh(row, what)
    } else {
        stamp(Kind::Attributes, present)
    }
}

fn stamp(kind: Kind, present: Option<&Row>) -> Verdict {
    Verdict::Stamp { kind, prev: present.and_then(Row::content) }
}

fn refresh(row: &Row, what: &What) -> Verdict {
    if Row::after(Some(row), what) == *row { Verdict::Nothing } else { Verdict::Refresh }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::rooted::FileKind;

    fn stat(version: i64, mode: u32) -> Stat {
        Stat {
            dev: 1,
            ino: 7,
            kind: FileKind::File,
            size: 3,
            blocks: 8,
            mode,
            nlink: 1,
            mtime_ns: version,
            ctime_ns: version,
            btime_ns: None,
        }
    }

    /// What is seen, by name: `file` and `file2` differ in content, `touched` only in times,
    /// `chmod` only in mode.
    fn what(name: &str) -> What {
        let file = |version, mode, bytes: &[u8], from: Option<&str>| What::File {
            stat: stat(version, mode),
            digest: Digest::of(bytes),
            racy: false,
            from: from.and_then(|path| RepoPath::new(path.as_bytes())),
        };
        let skipped = |reason| What::Skipped { stat: Some(stat(1, 0o644)), reason };
        match name {
            "file" => file(1, 0o644, b"one", None),
            "touched" => file(2, 0o644, b"one", None),
            "chmod" => file(2, 0o755, b"one", None),
            "file2" => file(2, 0o755, b"two", None),
            "moved" => file(1, 0o644, b"one", Some("old")),
            "racy" => What::File {
                stat: stat(1, 0o644),
                digest: Digest::of(b"one"),
                racy: true,
                from: None,
            },
            "link" => What::Symlink { stat: stat(1, 0o777), target: b"there".to_vec() },
            "link2" => What::Symlink { stat: stat(1, 0o777), target: b"elsewhere".to_vec() },
            "too_large" => skipped(SkipReason::TooLarge),
            "unreadable" => What::Skipped { stat: None, reason: SkipReason::Unreadable },
            "ignored" => skipped(SkipReason::Ignored),
            "unstable" => What::Unstable { stat: stat(3, 0o644) },
            "gone" => What::Gone,
            other => panic!("no such observation: {other}"),
        }
    }

    /// The row after a path was seen as each of these, one after the other.
    fn row_after(seen: &str) -> Option<Row> {
        seen.split_whitespace().fold(None, |row, name| Some(Row::after(row.as_ref(), &what(name))))
    }

    fn told(verdict: Verdict) -> String {
        let one_or_two = |digest: Digest| if digest == Digest::of(b"one") { "one" } else { "two" };
        match verdict {
            Verdict::Nothing => "nothing".to_owned(),
            Verdict::Refresh => "refresh".to_owned(),
            Verdict::Stamp { kind, prev: None } => kind.to_string(),
            Verdict::Stamp { kind, prev: Some(prev) } => format!("{kind} {}", one_or_two(prev)),
        }
    }

    #[test]
    fn every_observation_of_every_row_has_its_verdict() {
        // What was seen before, what is seen now, and what becomes of it with the digest before.
        let table = [
            ("", "file", "created"),
            ("", "link", "symlink"),
            ("", "too_large", "skipped"),
            ("", "unreadable", "skipped"),
            ("", "ignored", "nothing"),
            ("", "unstable", "unstable"),
            ("", "gone", "nothing"),
            ("file", "file", "nothing"),
            ("file", "touched", "refresh"),
            ("file", "racy", "refresh"),
            ("racy", "file", "refresh"),
            ("file", "chmod", "attributes one"),
            ("file", "file2", "modified one"),
            ("file2", "file", "modified two"),
            ("file", "link", "symlink one"),
            ("file", "too_large", "skipped one"),
            ("file", "unreadable", "skipped one"),
            ("file", "ignored", "skipped one"),
            ("file", "unstable", "unstable one"),
            ("file", "gone", "deleted one"),
            ("link", "link", "nothing"),
            ("link", "link2", "symlink"),
            ("link", "file", "created"),
            ("link", "gone", "deleted"),
            ("file unstable", "unstable", "nothing"),
            ("file unstable", "touched", "modified one"),
            ("file unstable", "file2", "modified one"),
            ("file unstable", "gone", "deleted one"),
            ("unstable", "file", "created"),
            ("unstable", "gone", "deleted"),
            ("file unreadable", "unreadable", "nothing"),
            ("file unreadable", "too_large", "skipped one"),
            ("file unreadable", "file", "modified one"),
            ("too_large", "too_large", "nothing"),
            ("too_large", "file", "created"),
            ("file ignored", "ignored", "nothing"),
            // What rules cover is not looked at: it ends with the skip, and begins anew without it.
            ("file ignored", "file", "created"),
            ("file ignored", "gone", "nothing"),
            ("file gone", "gone", "nothing"),
            ("file gone", "ignored", "nothing"),
            ("file gone", "file", "created"),
            ("file gone", "link", "symlink"),
        ];
        for (before, now, expected) in table {
            let verdict = decide(row_after(before).as_ref(), None, &what(now));
            assert_eq!(told(verdict), expected, "{before:?} then {now:?}");
        }
    }

    #[test]
    fn a_rename_needs_a_content_under_the_old_path() {
        let table = [
            ("file", "", "renamed one"),
            ("file", "file2", "renamed one"),
            ("file unstable", "", "renamed one"),
            ("file gone", "", "created"),
            ("file gone", "file", "nothing"),
            ("link", "", "created"),
            ("", "", "created"),
        ];
        for (old, here, expected) in table {
            let (old_row, row) = (row_after(old), row_after(here));
            let verdict = decide(row.as_ref(), old_row.as_ref(), &what("moved"));
            assert_eq!(told(verdict), expected, "{old:?} to {here:?}");
        }
    }

    #[test]
    fn only_a_stat_that_proves_something_is_steady() {
        let steady = ["file", "link"];
        let unsure = [
            "racy",
            "unstable",
            "unreadable",
            "ignored",
            "too_large",
            "file gone",
            "file unstable",
        ];
        assert!(steady.iter().all(|seen| row_after(seen).is_some_and(|row| row.is_steady())));
        assert!(unsure.iter().all(|seen| row_after(seen).is_some_and(|row| !row.is_steady())));
    }
}
