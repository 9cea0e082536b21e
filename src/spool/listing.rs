//! Listings: what is present of a repo, and what of that changed since somebody looked.
//!
//! Whoever keeps a listing follows the log: each stamp of a path tells that its row may have changed.
//! So nothing is asked of the writer, and what a listing shows is durable.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::SpoolError;
use super::index::state_of;
use super::position::Position;
use super::reader::Reader;
use super::repo::RepoId;
use crate::model::change::State;
use crate::model::path::RepoPath;

/// How far a listing has followed the log of its repo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached(Position);

/// A path of a listing, as its newest stamp tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// In bytes; 0 where no stat could be had.
    pub size: u64,
    /// What is there.
    pub state: State,
}

/// The paths that changed, each with what is there now.
pub type Changes = Vec<(RepoPath, Option<Listed>)>;

impl Reader {
    /// Gives every path that is present to `take`, in order of their bytes, and says how far that
    /// follows the log.
    pub fn list(
        &self,
        repo: RepoId,
        take: impl FnMut(&[u8], Listed),
    ) -> Result<Reached, SpoolError> {
        list(&self.conn, repo, take).map_err(self.blame.on("list the file index"))
    }

    /// What changed since `reached`; `None` where that is more than `stamps_max` stamps, or cannot be
    /// told from the log any more: then the listing is to be made anew.
    pub fn list_since(
        &self,
        repo: RepoId,
        reached: Reached,
        stamps_max: u64,
    ) -> Result<Option<(Reached, Changes)>, SpoolError> {
        let Reached(from) = reached;
        let list = || {
            let moment = self.conn.unchecked_transaction()?;
            let end = end_of(&moment, repo)?;
            let is_followed = end.stream == from.stream
                && end.seq.checked_sub(from.seq).is_some_and(|new| new <= stamps_max);
            if !is_followed {
                return Ok(None);
            }
            let Some(paths) = stamped_paths(&moment, from, end)? else { return Ok(None) };
            let mut get = moment
                .prepare_cached("SELECT size, state FROM file WHERE repo_id = ?1 AND path = ?2")?;
            let mut changes = Vec::with_capacity(paths.len());
            for path in paths {
                let listed = get
                    .query_row(params![repo.0, path.as_bytes()], |row| read_listed(row, 0))
                    .optional()?;
                changes.push((path, listed.flatten()));
            }
            Ok(Some((Reached(end), changes)))
        };
        list().map_err(self.blame.on("read what changed"))
    }
}

fn list(
    conn: &Connection,
    repo: RepoId,
    mut take: impl FnMut(&[u8], Listed),
) -> rusqlite::Result<Reached> {
    // One transaction: the rows are those of this end of the log.
    let moment = conn.unchecked_transaction()?;
    let reached = end_of(&moment, repo)?;
    let mut statement = moment
        .prepare_cached("SELECT path, size, state FROM file WHERE repo_id = ?1 ORDER BY path")?;
    let mut rows = statement.query([repo.0])?;
    while let Some(row) = rows.next()? {
        if let Some(listed) = read_listed(row, 1)? {
            take(row.get_ref(0)?.as_blob()?, listed);
        }
    }
    Ok(Reached(reached))
}

/// Where the next stamp of a repo goes.
fn end_of(conn: &Connection, repo: RepoId) -> rusqlite::Result<Position> {
    conn.prepare_cached(
        "SELECT id, next_seq FROM stream WHERE repo_id = ?1 ORDER BY epoch DESC LIMIT 1",
    )?
    .query_row([repo.0], |row| {
        Ok(Position { stream: row.get(0)?, seq: row.get::<_, i64>(1)? as u64 })
    })
}

/// The paths that the stamps of a span tell of; `None` where one was purged, and with it its path.
fn stamped_paths(
    conn: &Connection,
    from: Position,
    end: Position,
) -> rusqlite::Result<Option<BTreeSet<RepoPath>>> {
    let mut paths = BTreeSet::new();
    let mut statement = conn.prepare_cached(
        "SELECT path, from_path, purged IS NOT NULL FROM stamp WHERE pos >= ?1 AND pos < ?2",
    )?;
    let mut rows = statement.query(params![from, end])?;
    while let Some(row) = rows.next()? {
        if row.get(2)? {
            return Ok(None);
        }
        for column in [0, 1] {
            let bytes = row.get_ref(column)?.as_blob_or_null()?;
            paths.extend(bytes.and_then(RepoPath::new));
        }
    }
    Ok(Some(paths))
}

/// Reads size and state, of which the first is column `first`; none of a path that is not present.
fn read_listed(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Option<Listed>> {
    let size = row.get::<_, Option<i64>>(first)?.unwrap_or(0) as u64;
    let state = state_of(row.get(first + 1)?)
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(first + 1, 0))?;
    Ok(state.is_present().then_some(Listed { size, state }))
}
