//! The log: stamps as rows, written in order and rendered back into the bodies that were hashed.
//!
//! A row holds what differs from stamp to stamp; the rest is in its context. Rendering a row proves
//! it: a body that does not give the stored leaf is an error, never an answer.

use std::sync::Arc;

use rusqlite::{Connection, Row, Statement, params};

use super::error::SpoolError;
use super::position::Position;
use crate::model::body::{Rendered, seal};
use crate::model::digest::Digest;
use crate::model::path::RepoPath;
use crate::model::stamp::{Detail, Kind, Sealed, Stamp};
use crate::model::stream::{Leaf, StreamId};
use crate::runtime::time::Timestamp;

/// The stamps that a stamp follows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Links {
    /// The stamp of the same path before it.
    pub(super) prev: Option<Position>,
    /// Of a rename: the newest stamp of the old path.
    pub(super) from: Option<Position>,
}

/// Writes stamps.
pub(super) struct Insert<'c>(Statement<'c>);

impl<'c> Insert<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> rusqlite::Result<Self> {
        conn.prepare(
            "INSERT INTO stamp (pos, leaf, kind, context, path, from_path, digest, prev, size,
               mode, mtime, seen, stamped, detail, prev_pos, from_pos)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )
        .map(Self)
    }

    /// Writes one at `at`, which is its stream's row and its own seq.
    pub(super) fn insert(
        &mut self,
        at: Position,
        sealed: &Sealed,
        context: i64,
        links: Links,
    ) -> rusqlite::Result<()> {
        let stamp = &sealed.stamp;
        let detail = (stamp.detail != Detail::default()).then(|| {
            serde_json::to_string(&stamp.detail).expect("the model's types have string keys only")
        });
        self.0.execute(params![
            at,
            sealed.leaf.as_bytes(),
            stamp.kind.as_str(),
            context,
            stamp.path.as_ref().map(RepoPath::as_bytes),
            stamp.from.as_ref().map(RepoPath::as_bytes),
            stamp.digest.as_ref().map(Digest::as_bytes),
            stamp.prev.as_ref().map(Digest::as_bytes),
            stamp.size.map(|size| size as i64),
            stamp.mode,
            stamp.mtime.map(Timestamp::as_nanos),
            stamp.seen.as_nanos(),
            stamp.stamped.as_nanos(),
            detail,
            links.prev,
            links.from,
        ])?;
        Ok(())
    }
}

/// The columns that [`Entry::read`] reads, in its order.
macro_rules! stamp_columns {
    () => {
        "pos, leaf, kind, context, path, from_path, digest, prev, size, mode, mtime, seen, stamped, \
         detail, prev_pos, from_pos, purged"
    };
}
pub(super) use stamp_columns;

/// A row of the log as it is stored.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) at: Position,
    pub(super) leaf: Leaf,
    pub(super) links: Links,
    pub(super) stamped: Timestamp,
    /// Its body, or since when it is gone.
    pub(super) body: Result<Columns, Timestamp>,
}

/// The columns of a body.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) context: i64,
    pub(super) kind: Option<Kind>,
    pub(super) path: Option<Vec<u8>>,
    pub(super) from: Option<Vec<u8>>,
    digest: Option<[u8; 32]>,
    prev: Option<[u8; 32]>,
    size: Option<i64>,
    mode: Option<u32>,
    mtime: Option<i64>,
    seen: i64,
    detail: Option<String>,
}

impl Entry {
    /// Reads the columns of [`stamp_columns`].
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let purged: Option<i64> = row.get(16)?;
        Ok(Self {
            at: row.get(0)?,
            leaf: Leaf::from_bytes(row.get(1)?),
            links: Links { prev: row.get(14)?, from: row.get(15)? },
            stamped: Timestamp::from_nanos(row.get(12)?),
            body: match purged {
                Some(since) => Err(Timestamp::from_nanos(since)),
                None => Ok(Columns::read(row)?),
            },
        })
    }
}

impl Columns {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            kind: row.get_ref(2)?.as_str()?.parse().ok(),
            context: row.get(3)?,
            path: row.get(4)?,
            from: row.get(5)?,
            digest: row.get(6)?,
            prev: row.get(7)?,
            size: row.get(8)?,
            mode: row.get(9)?,
            mtime: row.get(10)?,
            seen: row.get(11)?,
            detail: row.get(13)?,
        })
    }

    /// The stamp; `None` when a column holds what no stamp can.
    pub(super) fn into_stamp(
        self,
        stream: StreamId,
        seq: u64,
        stamped: Timestamp,
        context: &Rendered,
    ) -> Option<Stamp> {
        Some(Stamp {
            stream,
            seq,
            kind: self.kind?,
            context: Arc::clone(context.context()),
            path: to_path(self.path)?,
            from: to_path(self.from)?,
            digest: self.digest.map(Digest::from_bytes),
            prev: self.prev.map(Digest::from_bytes),
            size: self.size.map(|size| size as u64),
            mode: self.mode,
            mtime: self.mtime.map(Timestamp::from_nanos),
            seen: Timestamp::from_nanos(self.seen),
            stamped,
            detail: match self.detail {
                None => Detail::default(),
                Some(json) => serde_json::from_str(&json).ok()?,
            },
        })
    }
}

/// Renders a stamp and proves that it is the one that was hashed.
pub(super) fn prove(
    stream: StreamId,
    seq: u64,
    stamp: Option<Stamp>,
    context: &Rendered,
    leaf: &Leaf,
) -> Result<Sealed, SpoolError> {
    stamp
        .map(|stamp| seal(stamp, context))
        .filter(|sealed| sealed.leaf == *leaf)
        .ok_or(SpoolError::Altered { stream, seq })
}

/// Reads a stored path: `None` when it is not one, `Some(None)` when there is none.
#[expect(clippy::option_option, reason = "absent and malformed are told apart")]
fn to_path(bytes: Option<Vec<u8>>) -> Option<Option<RepoPath>> {
    bytes.map_or(Some(None), |bytes| RepoPath::new(&bytes).map(Some))
}
