//! Reading: a connection of one's own, beside the writer or without an agent.
//!
//! Holds no lock between calls and sees each time what is durable then. Bodies come rendered and
//! proved.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use rustc_hash::FxHashMap;

use super::content::OWN_REPO;
use super::dead::DeadStamp;
use super::error::SpoolError;
use super::index::{Placed, read_row, row_columns};
use super::log::{Entry as LogEntry, prove, stamp_columns};
use super::position::Position;
use super::repo::RepoId;
use super::schema::{self, Blame};
use super::stream::{self, Found, stream_id};
use super::{context, cursor, dead};
use crate::model::batch::{Batch, Entry};
use crate::model::body::Rendered;
use crate::model::change::Row;
use crate::model::path::RepoPath;
use crate::model::stamp::Sealed;
use crate::model::stream::{CompactRange, Leaf, StreamId};
use crate::runtime::time::Timestamp;

/// Contexts kept rendered; a batch has a few dozen.
const CONTEXTS_MAX: usize = 512;

/// Why a purged body is withheld.
const PURGED: &str = "purged";

/// A reading connection.
#[derive(Debug)]
pub struct Reader {
    pub(super) conn: Connection,
    pub(super) blame: Blame,
    contexts: RefCell<FxHashMap<i64, Arc<Rendered>>>,
    streams: RefCell<FxHashMap<i64, StreamId>>,
}

/// A repo and what was stamped of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoInfo {
    /// Its identity in this spool.
    pub id: RepoId,
    /// Its name.
    pub name: String,
    /// Its root.
    pub root: PathBuf,
    /// The tenant of its stamps.
    pub namespace: String,
    /// Stamps in all of its streams.
    pub stamps: u64,
    /// When the newest stamp of a path was taken.
    pub last_change: Option<Timestamp>,
}

/// A stream and how far it reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHead {
    /// The stream.
    pub stream: StreamId,
    /// Its repo; of the `api` stream, one that is not listed.
    pub repo: RepoId,
    /// Its number among the streams of the repo, from 0.
    pub epoch: u64,
    /// How many stamps of it sinks are to have.
    pub size: u64,
    /// The RFC 6962 root over all of its leaves.
    pub root: [u8; 32],
    /// When its newest stamp was taken.
    pub committed_at: Timestamp,
}

/// The spool as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Stamps in all streams.
    pub stamps: u64,
    /// Bytes of the file and its write-ahead log.
    pub bytes: u64,
}

/// Opens the spool of a state directory for reading, with or without an agent at work on it.
pub fn open_read_only(state_dir: &Path) -> Result<Reader, SpoolError> {
    let path = schema::path_in(state_dir);
    let conn = schema::open_for_reading(&path)?;
    let (contexts, streams) = (RefCell::default(), RefCell::default());
    Ok(Reader { conn, blame: Blame::new(&path), contexts, streams })
}

impl Reader {
    /// The watched repos that were ever opened.
    pub fn repos(&self) -> Result<Vec<RepoInfo>, SpoolError> {
        let list = || {
            self.conn
                .prepare_cached(
                    "SELECT repo.id, name, root, namespace, coalesce(sum(next_seq), 0),
                       max(changed_at)
                     FROM repo LEFT JOIN stream ON stream.repo_id = repo.id
                     WHERE name <> ?1 GROUP BY repo.id ORDER BY name",
                )?
                .query_map([OWN_REPO], |row| {
                    Ok(RepoInfo {
                        id: RepoId(row.get(0)?),
                        name: row.get(1)?,
                        root: PathBuf::from(OsString::from_vec(row.get(2)?)),
                        namespace: row.get(3)?,
                        stamps: row.get::<_, i64>(4)? as u64,
                        last_change: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_nanos),
                    })
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        list().map_err(self.blame.on("list repos"))
    }

    /// What is known of a path.
    pub fn row(&self, repo: RepoId, path: &RepoPath) -> Result<Option<Row>, SpoolError> {
        Ok(self.placed(repo, path)?.map(|placed| placed.row))
    }

    pub(super) fn placed(
        &self,
        repo: RepoId,
        path: &RepoPath,
    ) -> Result<Option<Placed>, SpoolError> {
        let get = || {
            self.conn
                .prepare_cached(concat!(
                    "SELECT ",
                    row_columns!(),
                    " FROM file WHERE repo_id = ?1 AND path = ?2"
                ))?
                .query_row(params![repo.0, path.as_bytes()], |row| read_row(row, 0))
                .optional()
        };
        get().map_err(self.blame.on("read the file index"))
    }

    /// The present paths that are `dir` or lie below it, in order of their bytes.
    pub fn rows_within(
        &self,
        repo: RepoId,
        dir: &RepoPath,
    ) -> Result<Vec<(RepoPath, Row)>, SpoolError> {
        let mut rows = Vec::new();
        if !dir.is_root() {
            let own = self.row(repo, dir)?.filter(Row::is_present);
            rows.extend(own.map(|row| (dir.clone(), row)));
        }
        let list = |rows: &mut Vec<(RepoPath, Row)>| -> rusqlite::Result<()> {
            let (first, end) = children(dir);
            let mut statement = self.conn.prepare_cached(concat!(
                "SELECT path, ",
                row_columns!(),
                " FROM file WHERE repo_id = ?1 AND path >= ?2 AND (?3 IS NULL OR path < ?3)"
            ))?;
            let mut found = statement.query(params![repo.0, first, end])?;
            while let Some(row) = found.next()? {
                let (path, placed) = (RepoPath::new(row.get_ref(0)?.as_blob()?), read_row(row, 1)?);
                rows.extend(path.zip(Some(placed.row).filter(Row::is_present)));
            }
            Ok(())
        };
        list(&mut rows).map_err(self.blame.on("read the file index"))?;
        Ok(rows)
    }

    /// Every stream, oldest first.
    pub fn streams(&self) -> Result<Vec<StreamHead>, SpoolError> {
        let list = || {
            self.conn
                .prepare_cached(
                    "SELECT stream_id, repo_id, epoch, min(next_seq, coalesce(ends_at, next_seq)),
                       next_seq, root_state, committed_at
                     FROM stream ORDER BY id",
                )?
                .query_map([], |row| {
                    let size = row.get::<_, i64>(4)? as u64;
                    let tree = CompactRange::from_bytes(size, row.get_ref(5)?.as_blob()?)
                        .ok_or(rusqlite::Error::IntegralValueOutOfRange(5, size as i64))?;
                    Ok(StreamHead {
                        stream: stream_id(row, 0)?,
                        repo: RepoId(row.get(1)?),
                        epoch: row.get::<_, i64>(2)? as u64,
                        size: row.get::<_, i64>(3)? as u64,
                        root: tree.root(),
                        committed_at: Timestamp::from_nanos(row.get(6)?),
                    })
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        list().map_err(self.blame.on("list streams"))
    }

    /// How much of a stream a sink has confirmed.
    pub fn cursor(&self, sink: &str, stream: StreamId) -> Result<u64, SpoolError> {
        cursor::load(&self.conn, sink, stream).map_err(self.blame.on("read a cursor"))
    }

    /// Who was pinned at the far end of a sink.
    pub fn pinned(&self, sink: &str) -> Result<Option<String>, SpoolError> {
        self.conn
            .prepare_cached("SELECT identity FROM sink WHERE name = ?1")
            .and_then(|mut statement| {
                statement.query_row([sink], |row| row.get::<_, Option<String>>(0)).optional()
            })
            .map(Option::flatten)
            .map_err(self.blame.on("read a sink"))
    }

    /// The leaf at a position, if the stream reaches that far.
    pub fn leaf(&self, stream: StreamId, seq: u64) -> Result<Option<Leaf>, SpoolError> {
        let at = self.found(stream)?.at(seq);
        stream::leaf_at(&self.conn, at).map_err(self.blame.on("read a leaf"))
    }

    /// A piece of a stream from `from_seq` on: at most `rows_max` entries, and no more bodies than
    /// fit into `bytes_max`, but at least one. Purged bodies come as withheld leaves.
    pub fn batch(
        &self,
        stream: StreamId,
        from_seq: u64,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Batch, SpoolError> {
        let found = self.found(stream)?;
        let entries = self.entries(found.at(from_seq), found.at(found.end), rows_max)?;
        let mut batch = Batch { stream, first_seq: from_seq, entries: Vec::new() };
        let mut bytes = 0;
        for entry in entries {
            let entry = self.deliverable(entry)?;
            bytes += match &entry {
                Entry::Stamp(sealed) => sealed.body.len(),
                Entry::Withheld { .. } => 0,
            };
            if bytes > bytes_max && !batch.entries.is_empty() {
                break;
            }
            batch.entries.push(entry);
        }
        Ok(batch)
    }

    /// Stamps that a sink has not confirmed.
    pub fn queued(&self, sink: &str) -> Result<u64, SpoolError> {
        self.conn
            .prepare_cached(
                "SELECT coalesce(sum(max(0,
                   min(next_seq, coalesce(ends_at, next_seq)) - coalesce(cursor.size, 0))), 0)
                 FROM stream LEFT JOIN cursor ON cursor.stream = stream.id AND cursor.sink = ?1",
            )
            .and_then(|mut statement| statement.query_row([sink], |row| row.get::<_, i64>(0)))
            .map(|queued| queued as u64)
            .map_err(self.blame.on("count what is queued"))
    }

    /// When the oldest stamp was taken that a sink has not confirmed.
    pub fn oldest(&self, sink: &str) -> Result<Option<Timestamp>, SpoolError> {
        self.extreme(
            "SELECT min(stamped) FROM stream
               LEFT JOIN cursor ON cursor.stream = stream.id AND cursor.sink = ?1
               JOIN stamp ON pos = (stream.id << 40) + coalesce(cursor.size, 0)
             WHERE coalesce(cursor.size, 0) < coalesce(ends_at, next_seq)",
            sink,
        )
    }

    /// When the newest stamp was taken that a sink has confirmed.
    pub fn confirmed_at(&self, sink: &str) -> Result<Option<Timestamp>, SpoolError> {
        self.extreme(
            "SELECT max(stamped) FROM cursor
               JOIN stamp ON pos = (cursor.stream << 40) + cursor.size - 1
             WHERE sink = ?1 AND cursor.size > 0",
            sink,
        )
    }

    /// The dead letters of a sink, oldest first.
    pub fn dead(&self, sink: &str) -> Result<Vec<DeadStamp>, SpoolError> {
        dead::load(&self.conn, sink).map_err(self.blame.on("read the dead letters"))
    }

    /// The spool as a whole. Costs a few rows and two stats, whatever the spool holds.
    pub fn totals(&self) -> Result<Totals, SpoolError> {
        let stamps: i64 = self
            .conn
            .prepare_cached("SELECT coalesce(sum(next_seq), 0) FROM stream")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(self.blame.on("count stamps"))?;
        let path = self.blame.path();
        let bytes_of = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        let bytes = bytes_of(path) + bytes_of(&path.with_extension("db-wal"));
        Ok(Totals { stamps: stamps as u64, bytes })
    }

    fn extreme(&self, sql: &str, sink: &str) -> Result<Option<Timestamp>, SpoolError> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement.query_row([sink], |row| row.get::<_, Option<i64>>(0))
            })
            .map(|nanos| nanos.map(Timestamp::from_nanos))
            .map_err(self.blame.on("read a time"))
    }

    /// The rows from `from` up to `end`.
    pub(super) fn entries(
        &self,
        from: Position,
        end: Position,
        rows_max: usize,
    ) -> Result<Vec<LogEntry>, SpoolError> {
        let list = || {
            self.conn
                .prepare_cached(concat!(
                    "SELECT ",
                    stamp_columns!(),
                    " FROM stamp WHERE pos >= ?1 AND pos < ?2 ORDER BY pos LIMIT ?3"
                ))?
                .query_map(params![from, end, rows_max as i64], LogEntry::read)?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        list().map_err(self.blame.on("read stamps"))
    }

    /// What a sink is given of a row.
    fn deliverable(&self, entry: LogEntry) -> Result<Entry, SpoolError> {
        match entry.body {
            Ok(_) => Ok(Entry::Stamp(Box::new(self.seal(entry)?.expect("the body is there")))),
            Err(since) => {
                Ok(Entry::Withheld { leaf: entry.leaf, reason: PURGED.to_owned(), since })
            }
        }
    }

    /// Renders and proves a row; none when its body was purged.
    pub(super) fn seal(&self, entry: LogEntry) -> Result<Option<Sealed>, SpoolError> {
        let LogEntry { at, leaf, stamped, body, links: _ } = entry;
        let Ok(columns) = body else { return Ok(None) };
        let stream = self.stream_of(at.stream)?;
        let context = self.context(columns.context)?;
        let stamp = columns.into_stamp(stream, at.seq, stamped, &context);
        prove(stream, at.seq, stamp, &context, &leaf).map(Some)
    }

    fn context(&self, id: i64) -> Result<Arc<Rendered>, SpoolError> {
        if let Some(known) = self.contexts.borrow().get(&id) {
            return Ok(Arc::clone(known));
        }
        let loaded = context::load(&self.conn, id, &self.blame)?;
        let mut contexts = self.contexts.borrow_mut();
        if contexts.len() >= CONTEXTS_MAX {
            contexts.clear();
        }
        contexts.insert(id, Arc::clone(&loaded));
        Ok(loaded)
    }

    fn stream_of(&self, row: i64) -> Result<StreamId, SpoolError> {
        if let Some(&known) = self.streams.borrow().get(&row) {
            return Ok(known);
        }
        let id = self
            .conn
            .prepare_cached("SELECT stream_id FROM stream WHERE id = ?1")
            .and_then(|mut statement| statement.query_row([row], |row| stream_id(row, 0)))
            .map_err(self.blame.on("read a stream"))?;
        self.streams.borrow_mut().insert(row, id);
        Ok(id)
    }

    fn found(&self, stream: StreamId) -> Result<Found, SpoolError> {
        stream::find(&self.conn, stream)
            .map_err(self.blame.on("find a stream"))?
            .ok_or(SpoolError::UnknownStream(stream))
    }
}

/// The range of the paths below a directory: from the first on, and before the end if there is one.
fn children(dir: &RepoPath) -> (Vec<u8>, Option<Vec<u8>>) {
    if dir.is_root() {
        return (Vec::new(), None);
    }
    let bounded_by = |byte: u8| [dir.as_bytes(), &[byte]].concat();
    (bounded_by(b'/'), Some(bounded_by(b'/' + 1)))
}
