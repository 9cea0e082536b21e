//! One repo as the writer sees it: its stream, its contexts, and the step from observation to stamp.

use std::sync::Arc;

use rusqlite::{Connection, Statement, params};
use rustc_hash::FxHashSet;

use super::Annotate;
use super::context::Contexts;
use super::error::SpoolError;
use super::index::{Change, Known, Placed, read_row, row_columns, state_number};
use super::log::{Insert, Links};
use super::position::Position;
use super::schema::Blame;
use super::stream::Head;
use crate::model::body::{Rendered, seal};
use crate::model::change::{Observation, Row, Verdict, What, decide};
use crate::model::digest::Digest;
use crate::model::filetype;
use crate::model::path::RepoPath;
use crate::model::stamp::{Detail, Kind, Stamp};
use crate::runtime::rooted::Stat;
use crate::runtime::time::Timestamp;

/// The statements of the hot path, prepared once.
pub(super) struct Statements<'c> {
    insert_stamp: Insert<'c>,
    put_file: Statement<'c>,
    get_file: Statement<'c>,
    pub(super) save_head: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            insert_stamp: Insert::prepare(conn)?,
            put_file: conn.prepare(
                "INSERT OR REPLACE INTO file (repo_id, path, ino, btime_ns, size, mtime_ns,
                   ctime_ns, mode, nlink, digest, state, racy, pos)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?,
            get_file: conn.prepare(concat!(
                "SELECT ",
                row_columns!(),
                " FROM file WHERE repo_id = ?1 AND path = ?2"
            ))?,
            save_head: super::stream::prepare_save(conn)?,
        })
    }

    fn get_file(&mut self, repo: i64, path: &RepoPath) -> rusqlite::Result<Option<Placed>> {
        let mut rows = self.get_file.query(params![repo, path.as_bytes()])?;
        rows.next()?.map(|row| read_row(row, 0)).transpose()
    }

    fn put_file(&mut self, repo: i64, path: &RepoPath, placed: &Placed) -> rusqlite::Result<()> {
        let Placed { row, at } = placed;
        self.put_file.execute(params![
            repo,
            path.as_bytes(),
            row.mark.map(|mark| mark.ino as i64),
            row.mark.and_then(|mark| mark.btime_ns),
            row.mark.map(|mark| mark.size as i64),
            row.mark.map(|mark| mark.mtime_ns),
            row.mark.map(|mark| mark.ctime_ns),
            row.mark.map(|mark| mark.mode),
            row.mark.map(|mark| mark.nlink),
            row.digest.as_ref().map(Digest::as_bytes),
            state_number(row.state),
            row.racy,
            at,
        ])?;
        Ok(())
    }
}

/// What one stamp says beyond what its repo and stream say.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) kind: Kind,
    pub(super) path: Option<RepoPath>,
    pub(super) from: Option<RepoPath>,
    pub(super) digest: Option<Digest>,
    pub(super) prev: Option<Digest>,
    pub(super) stat: Option<Stat>,
    pub(super) seen: Timestamp,
    pub(super) detail: Detail,
}

impl Fact {
    /// A fact about the stream itself.
    pub(super) fn of_life(kind: Kind, detail: Detail, seen: Timestamp) -> Self {
        let (path, from, digest, prev, stat) = (None, None, None, None, None);
        Self { kind, path, from, digest, prev, stat, seen, detail }
    }
}

/// One stamp that was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// Its position in the repo's stream.
    pub seq: u64,
    /// What it records.
    pub kind: Kind,
    /// Of which path.
    pub path: Option<RepoPath>,
}

/// A repo that is open for appending.
pub(super) struct Track {
    pub(super) repo: i64,
    pub(super) known: Arc<Known>,
    pub(super) head: Head,
    pub(super) contexts: Contexts,
    /// Keys of the rows that this transaction wrote: `known` does not have them yet.
    written: FxHashSet<u64>,
    /// What `known` becomes once the transaction is committed, in order.
    changes: Vec<Change>,
}

/// What a step needs from its transaction.
pub(super) struct Step<'a, 'c> {
    pub(super) conn: &'c Connection,
    pub(super) blame: &'a Blame,
    pub(super) statements: &'a mut Statements<'c>,
    pub(super) annotate: Option<&'a Annotate>,
    pub(super) now: Timestamp,
}

impl Track {
    pub(super) fn new(repo: i64, known: Arc<Known>, head: Head, contexts: Contexts) -> Self {
        let (written, changes) = (FxHashSet::default(), Vec::new());
        Self { repo, known, head, contexts, written, changes }
    }

    /// Decides about one observation and records what it makes.
    pub(super) fn observe(
        &mut self,
        step: &mut Step<'_, '_>,
        observation: Observation,
    ) -> Result<Option<Stamped>, SpoolError> {
        let Observation { path, seen, what } = observation;
        let key = self.known.key(&path);
        let before = self.find(step, key, &path)?;
        let from = match &what {
            What::File { from: Some(old), .. } => {
                let old_key = self.known.key(old);
                self.find(step, old_key, old)?.map(|placed| (old_key, old.clone(), placed))
            }
            _ => None,
        };
        let row = before.as_ref().map(|placed| &placed.row);
        match decide(row, from.as_ref().map(|(.., placed)| &placed.row), &what) {
            Verdict::Nothing => Ok(None),
            Verdict::Refresh => {
                let at = before.as_ref().expect("only what was known is refreshed").at;
                let after = Placed { row: Row::after(row, &what), at };
                self.put(step, key, &path, row, &after)?;
                Ok(None)
            }
            Verdict::Stamp { kind, prev } => {
                let from = from.filter(|_| kind == Kind::Renamed);
                let links = Links {
                    prev: before.as_ref().map(|placed| placed.at),
                    from: from.as_ref().map(|(.., placed)| placed.at),
                };
                let after = Row::after(row, &what);
                let old_path = from.as_ref().map(|(_, old, _)| old.clone());
                let mut fact = fact_of(kind, path.clone(), old_path, prev, what, seen);
                fact.detail.intelligence = step
                    .annotate
                    .zip(fact.digest.as_ref())
                    .and_then(|(annotate, digest)| annotate(digest, &path));
                let at = self.push(step, fact, links)?;
                if let Some((old_key, old, Placed { row: moved, .. })) = &from {
                    let gone = Placed { row: Row::after(Some(moved), &What::Gone), at };
                    self.put(step, *old_key, old, Some(moved), &gone)?;
                }
                self.put(step, key, &path, row, &Placed { row: after, at })?;
                Ok(Some(Stamped { seq: at.seq, kind, path: Some(path) }))
            }
        }
    }

    /// Appends one stamp and says where.
    pub(super) fn push(
        &mut self,
        step: &mut Step<'_, '_>,
        fact: Fact,
        links: Links,
    ) -> Result<Position, SpoolError> {
        let file = fact.path.as_ref().and_then(filetype::of);
        let context = self.contexts.of(file, step.conn, step.blame)?;
        let stamp = Stamp {
            stream: self.head.id,
            seq: self.head.next().seq,
            kind: fact.kind,
            context: Arc::clone(context.rendered.context()),
            path: fact.path,
            from: fact.from,
            digest: fact.digest,
            prev: fact.prev,
            size: fact.stat.map(|stat| stat.size),
            mode: fact.stat.map(|stat| stat.mode),
            mtime: fact.stat.map(|stat| Timestamp::from_nanos(stat.mtime_ns)),
            seen: fact.seen,
            stamped: step.now,
            detail: fact.detail,
        };
        write(step.statements, &mut self.head, stamp, context.id, &context.rendered, links)
            .map_err(step.blame.on("append a stamp"))
    }

    /// Lets memory follow what was committed.
    pub(super) fn committed(&mut self) {
        self.written.clear();
        if !self.changes.is_empty() {
            self.known.apply(self.changes.drain(..));
        }
    }

    /// The row of a path as this transaction sees it. A path that memory does not know costs no
    /// query: in a first scan that is every path.
    fn find(
        &self,
        step: &mut Step<'_, '_>,
        key: u64,
        path: &RepoPath,
    ) -> Result<Option<Placed>, SpoolError> {
        if !self.known.has_row(key) && !self.written.contains(&key) {
            return Ok(None);
        }
        step.statements.get_file(self.repo, path).map_err(step.blame.on("read the file index"))
    }

    fn put(
        &mut self,
        step: &mut Step<'_, '_>,
        key: u64,
        path: &RepoPath,
        before: Option<&Row>,
        after: &Placed,
    ) -> Result<(), SpoolError> {
        step.statements
            .put_file(self.repo, path, after)
            .map_err(step.blame.on("write the file index"))?;
        let change = self.known.change(key, path, before, &after.row);
        self.written.insert(change.key);
        self.changes.push(change);
        Ok(())
    }
}

/// Appends a stamp to the stream of `head`, which is the one it names.
pub(super) fn write(
    statements: &mut Statements<'_>,
    head: &mut Head,
    stamp: Stamp,
    context: i64,
    rendered: &Rendered,
    links: Links,
) -> rusqlite::Result<Position> {
    let at = head.next();
    debug_assert_eq!((stamp.stream, stamp.seq), (head.id, at.seq), "a stamp names its place");
    let sealed = seal(stamp, rendered);
    statements.insert_stamp.insert(at, &sealed, context, links)?;
    let is_change = sealed.stamp.path.is_some() || sealed.stamp.kind.has_content();
    head.push(&sealed.leaf, sealed.stamp.stamped, is_change);
    Ok(at)
}

fn fact_of(
    kind: Kind,
    path: RepoPath,
    from: Option<RepoPath>,
    prev: Option<Digest>,
    what: What,
    seen: Timestamp,
) -> Fact {
    let mut detail = Detail::default();
    let (stat, digest) = match what {
        What::File { stat, digest, .. } => (Some(stat), Some(digest)),
        What::Symlink { stat, target } => {
            detail.target = Some(target);
            (Some(stat), None)
        }
        What::Skipped { stat, reason } => {
            detail.reason = Some(reason.as_str().to_owned());
            (stat, None)
        }
        What::Unstable { stat } => (Some(stat), None),
        What::Gone => (None, None),
    };
    Fact { kind, path: Some(path), from, digest, prev, stat, seen, detail }
}
