//! What was stamped: of one path, of one content, of a whole repo.

use std::collections::{BinaryHeap, VecDeque};

use rusqlite::OptionalExtension as _;
use rustc_hash::FxHashSet;

use super::error::SpoolError;
use super::log::{Entry, stamp_columns};
use super::position::Position;
use super::reader::Reader;
use super::repo::RepoId;
use crate::model::digest::Digest;
use crate::model::path::RepoPath;
use crate::model::stamp::Sealed;
use crate::runtime::time::Timestamp;

/// Stamps that [`All`] reads at a time.
const PAGE_ROWS: usize = 1_000;

/// An interval in which a repo could not be seen completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// When it began.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
    /// When it ended; none while it lasts.
    pub until: Option<Timestamp>,
}

impl Reader {
    /// The stamps of a path, newest first, at most `stamps_max`.
    ///
    /// A rename continues two histories, that of the file under its old path and that of the path
    /// it came to, and both are told. Where bodies were purged the history ends.
    pub fn history(
        &self,
        repo: RepoId,
        path: &RepoPath,
        stamps_max: usize,
    ) -> Result<Vec<Sealed>, SpoolError> {
        let mut stamps = Vec::new();
        let mut met = FxHashSet::default();
        // Newest first: a later epoch's stream has the higher row.
        let mut open = BinaryHeap::new();
        if let Some(placed) = self.placed(repo, path)? {
            open.push((placed.at, path.clone()));
        }
        while let Some((at, path)) = open.pop() {
            if stamps.len() == stamps_max {
                break;
            }
            let Some(entry) = self.entry(at)? else { continue };
            let links = entry.links;
            let Some(sealed) = self.seal(entry)? else { continue };
            // Under its old path a rename leads to what was there; under its new one, to both.
            let prev = links.prev.filter(|_| sealed.stamp.path.as_ref() == Some(&path));
            let old_path = sealed.stamp.from.clone();
            open.extend(prev.map(|at| (at, path)));
            open.extend(links.from.zip(old_path));
            if met.insert(at) {
                stamps.push(sealed);
            }
        }
        Ok(stamps)
    }

    /// The stamps that tell of a content, newest first. Reads the whole log: no index by digest is
    /// kept, since it would cost every stamp more than all such questions together.
    pub fn by_digest(&self, digest: &Digest) -> Result<Vec<Sealed>, SpoolError> {
        let list = || {
            self.conn
                .prepare_cached(concat!(
                    "SELECT ",
                    stamp_columns!(),
                    " FROM stamp WHERE digest = ?1 AND pos <
                       (SELECT (id << 40) + coalesce(ends_at, next_seq) FROM stream
                        WHERE id = pos >> 40)
                     ORDER BY stamped DESC, pos DESC"
                ))?
                .query_map([digest.as_bytes()], Entry::read)?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        let entries = list().map_err(self.blame.on("look for a digest"))?;
        entries.into_iter().filter_map(|entry| self.seal(entry).transpose()).collect()
    }

    /// Every stamp of a repo whose body is there, oldest first, read a page at a time.
    pub fn all(&self, repo: RepoId) -> All<'_> {
        All { reader: self, repo, spans: None, page: VecDeque::new() }
    }

    /// The streams of a repo, each from its first position up to its end.
    fn spans(&self, repo: RepoId) -> Result<VecDeque<(Position, Position)>, SpoolError> {
        let list = || {
            self.conn
                .prepare_cached(
                    "SELECT id, coalesce(ends_at, next_seq) FROM stream
                     WHERE repo_id = ?1 ORDER BY epoch",
                )?
                .query_map([repo.0], |row| {
                    let (stream, end) = (row.get(0)?, row.get::<_, i64>(1)? as u64);
                    Ok((Position { stream, seq: 0 }, Position { stream, seq: end }))
                })?
                .collect::<rusqlite::Result<VecDeque<_>>>()
        };
        list().map_err(self.blame.on("list streams"))
    }

    /// The intervals in which a repo could not be seen completely, oldest first.
    pub fn coverage(&self, repo: RepoId) -> Result<Vec<Interval>, SpoolError> {
        let list = || {
            self.conn
                .prepare_cached(
                    "SELECT since, reason, until FROM coverage WHERE repo_id = ?1 ORDER BY since",
                )?
                .query_map([repo.0], |row| {
                    Ok(Interval {
                        since: Timestamp::from_nanos(row.get(0)?),
                        reason: row.get(1)?,
                        until: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_nanos),
                    })
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        list().map_err(self.blame.on("read the coverage"))
    }

    fn entry(&self, at: Position) -> Result<Option<Entry>, SpoolError> {
        self.conn
            .prepare_cached(concat!("SELECT ", stamp_columns!(), " FROM stamp WHERE pos = ?1"))
            .and_then(|mut statement| statement.query_row([at], Entry::read).optional())
            .map_err(self.blame.on("read a stamp"))
    }
}

/// The stamps of a repo; see [`Reader::all`].
#[derive(Debug)]
pub struct All<'r> {
    reader: &'r Reader,
    repo: RepoId,
    /// What is still to be read, from here up to there; none before the first page.
    spans: Option<VecDeque<(Position, Position)>>,
    page: VecDeque<Entry>,
}

impl All<'_> {
    /// Reads the next page; it is empty when there is none.
    fn load(&mut self) -> Result<(), SpoolError> {
        let spans = match &mut self.spans {
            Some(spans) => spans,
            first => first.insert(self.reader.spans(self.repo)?),
        };
        while let Some((from, end)) = spans.pop_front() {
            self.page = self.reader.entries(from, end, PAGE_ROWS)?.into();
            if let Some(last) = self.page.back() {
                let next = Position { seq: last.at.seq + 1, ..last.at };
                spans.push_front((next, end));
                break;
            }
        }
        Ok(())
    }
}

impl Iterator for All<'_> {
    type Item = Result<Sealed, SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.page.is_empty()
                && let Err(error) = self.load()
            {
                return Some(Err(error));
            }
            let entry = self.page.pop_front()?;
            if let Some(sealed) = self.reader.seal(entry).transpose() {
                return Some(sealed);
            }
        }
    }
}
