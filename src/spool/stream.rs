//! Streams: opening one per repo and epoch, and keeping its head.
//!
//! A seq is never given twice. So a stream goes on only on the machine and in the file it was opened
//! in: a restored backup or a cloned image opens the next epoch, whose first stamp names where the
//! one before ended.

use rusqlite::{Connection, OptionalExtension as _, Statement, params};
use uuid::Uuid;

use super::position::Position;
use crate::model::stamp::Previous;
use crate::model::stream::{CompactRange, Leaf, StreamId};
use crate::runtime::time::Timestamp;

/// The growing end of a stream.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// Its row.
    pub(super) row: i64,
    pub(super) id: StreamId,
    pub(super) epoch: i64,
    /// Of its first stamp.
    pub(super) context: i64,
    /// Its leaves; their number is the next seq.
    pub(super) tree: CompactRange,
    committed_at: Timestamp,
    changed_at: Option<Timestamp>,
    dirty: bool,
}

impl Head {
    /// Where the next stamp goes.
    pub(super) fn next(&self) -> Position {
        Position { stream: self.row, seq: self.tree.size() }
    }

    /// Takes the leaf of the next stamp.
    pub(super) fn push(&mut self, leaf: &Leaf, stamped: Timestamp, is_change: bool) {
        self.tree.push(leaf);
        self.committed_at = stamped;
        if is_change {
            self.changed_at = Some(stamped);
        }
        self.dirty = true;
    }

    /// When its newest stamp was taken.
    pub(super) fn committed_at(&self) -> Timestamp {
        self.committed_at
    }

    /// Writes what grew.
    pub(super) fn save(&mut self, update: &mut Statement<'_>) -> rusqlite::Result<()> {
        if std::mem::take(&mut self.dirty) {
            update.execute(params![
                self.row,
                self.tree.size() as i64,
                self.tree.to_bytes(),
                self.committed_at.as_nanos(),
                self.changed_at.map(Timestamp::as_nanos),
            ])?;
        }
        Ok(())
    }
}

/// Prepares what [`Head::save`] runs.
pub(super) fn prepare_save(conn: &Connection) -> rusqlite::Result<Statement<'_>> {
    conn.prepare(
        "UPDATE stream SET next_seq = ?2, root_state = ?3, committed_at = ?4, changed_at = ?5
         WHERE id = ?1",
    )
}

/// The newest stream of a repo, and the origin it was opened with.
pub(super) fn newest(conn: &Connection, repo: i64) -> rusqlite::Result<Option<(Head, [u8; 32])>> {
    conn.prepare_cached(
        "SELECT id, stream_id, epoch, next_seq, root_state, committed_at, changed_at, origin,
                context
         FROM stream WHERE repo_id = ?1 ORDER BY epoch DESC LIMIT 1",
    )?
    .query_row([repo], |row| {
        let size = row.get::<_, i64>(3)? as u64;
        let tree = CompactRange::from_bytes(size, row.get_ref(4)?.as_blob()?)
            .ok_or(rusqlite::Error::IntegralValueOutOfRange(4, size as i64))?;
        let head = Head {
            row: row.get(0)?,
            id: stream_id(row, 1)?,
            epoch: row.get(2)?,
            context: row.get(8)?,
            tree,
            committed_at: Timestamp::from_nanos(row.get(5)?),
            changed_at: row.get::<_, Option<i64>>(6)?.map(Timestamp::from_nanos),
            dirty: false,
        };
        Ok((head, row.get(7)?))
    })
    .optional()
}

/// Makes the row of a new stream, still without its `opened` stamp.
pub(super) fn create(
    conn: &Connection,
    repo: i64,
    epoch: i64,
    origin: &[u8; 32],
    context: i64,
    now: Timestamp,
) -> rusqlite::Result<Head> {
    let id = new_id(now);
    conn.execute(
        "INSERT INTO stream
           (stream_id, repo_id, epoch, origin, context, next_seq, root_state, purged_to,
            committed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, x'', 0, ?6)",
        params![id.as_uuid().as_bytes(), repo, epoch, origin, context, now.as_nanos()],
    )?;
    Ok(Head {
        row: conn.last_insert_rowid(),
        id,
        epoch,
        context,
        tree: CompactRange::default(),
        committed_at: now,
        changed_at: None,
        dirty: false,
    })
}

/// What the `opened` stamp of the next epoch says of this one, which ends at `size`.
pub(super) fn previous(conn: &Connection, head: &Head, size: u64) -> rusqlite::Result<Previous> {
    let leaf = match size.checked_sub(1) {
        None => None,
        Some(last) => leaf_at(conn, Position { stream: head.row, seq: last })?,
    };
    Ok(Previous { stream: head.id, size, leaf: leaf.map(|leaf| leaf.to_string()) })
}

/// The leaf at a position, if the stream reaches that far.
pub(super) fn leaf_at(conn: &Connection, at: Position) -> rusqlite::Result<Option<Leaf>> {
    conn.prepare_cached("SELECT leaf FROM stamp WHERE pos = ?1")?
        .query_row([at], |row| row.get(0).map(Leaf::from_bytes))
        .optional()
}

/// The row of a stream and where it ends for sinks.
pub(super) fn find(conn: &Connection, id: StreamId) -> rusqlite::Result<Option<Found>> {
    conn.prepare_cached(
        "SELECT id, repo_id, min(next_seq, coalesce(ends_at, next_seq)) FROM stream WHERE stream_id = ?1",
    )?
    .query_row([id.as_uuid().as_bytes()], |row| {
        Ok(Found {
            row: row.get(0)?,
            repo: row.get(1)?,
            end: row.get::<_, i64>(2)? as u64,
        })
    })
    .optional()
}

/// What [`find`] says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) row: i64,
    pub(super) repo: i64,
    /// Where it ends for sinks.
    pub(super) end: u64,
}

impl Found {
    /// The position of a seq.
    pub(super) fn at(&self, seq: u64) -> Position {
        Position { stream: self.row, seq }
    }
}

/// Reads a column that holds the identity of a stream.
pub(super) fn stream_id(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<StreamId> {
    Ok(StreamId::from_uuid(Uuid::from_bytes(row.get(column)?)))
}

fn new_id(now: Timestamp) -> StreamId {
    let nanos = now.as_nanos().max(0).unsigned_abs();
    let (seconds, subsec) = (nanos / 1_000_000_000, (nanos % 1_000_000_000) as u32);
    let time = uuid::Timestamp::from_unix(uuid::NoContext, seconds, subsec);
    StreamId::from_uuid(Uuid::new_v7(time))
}
