//! The file index: one row per path that was ever stamped, and what is kept of it in memory.
//!
//! [`Known`] answers "has this file changed since it was stamped?" for a walk of 100,000 files
//! without a query. It follows the table: it is changed after a commit, never before, so what it
//! calls the same is durable.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use rustc_hash::FxHashMap;

use super::position::Position;
use crate::model::change::{Mark, Row, State};
use crate::model::digest::Digest;
use crate::model::path::RepoPath;
use crate::model::stamp::SkipReason;
use crate::runtime::rooted::{FileKind, Stat};

/// The print of a row whose stat proves nothing.
const UNSURE: u64 = 0;
/// The print of a row of a path that is deleted, or not covered any more.
const DELETED: u64 = 1;

/// How a stat compares with what was stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Unchanged since its newest stamp.
    Same,
    /// Changed, or its stat proves nothing: look closer.
    Differs,
    /// Nothing was there.
    New,
}

/// The index of one repo in memory: 17 bytes per file and slot, 20 to 39 in all as the table grows.
///
/// Keys and prints are keyed hashes: names in a hostile repo cannot be made to collide.
#[derive(Debug)]
pub struct Known {
    keys: RandomState,
    /// Written by the writer after a commit; read by the repo's tracker.
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    prints: FxHashMap<u64, u64>,
    present: usize,
    /// Of files with more than one name: their paths, by inode.
    links: FxHashMap<u64, Vec<RepoPath>>,
}

/// What a commit changes in memory.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) key: u64,
    print: u64,
    joins: Option<(u64, RepoPath)>,
    leaves: Option<(u64, RepoPath)>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self { keys: RandomState::new(), inner: RwLock::default() }
    }

    /// Compares what is on disk now with what was stamped.
    pub fn check(&self, path: &RepoPath, stat: &Stat) -> Look {
        self.glance().check(self.key(path), stat)
    }

    /// Holds it still for many looks: two threads that lock it for each would wait for each other.
    /// No commit ends meanwhile, so a glance is for what is in memory already.
    pub fn glance(&self) -> Glance<'_> {
        Glance { known: self, inner: self.read() }
    }

    /// The key of a path, for sets of paths that a walk has met.
    pub fn key(&self, path: &RepoPath) -> u64 {
        self.key_of(path.as_bytes())
    }

    /// The key of a path of which there is no [`RepoPath`].
    pub fn key_of(&self, path: &[u8]) -> u64 {
        self.keys.hash_one(path)
    }

    /// How many paths are there.
    pub fn len(&self) -> usize {
        self.read().present
    }

    /// Whether any path is there whose key `met` does not have.
    pub fn any_unmet(&self, met: impl Fn(u64) -> bool) -> bool {
        self.read().prints.iter().any(|(&key, &print)| print != DELETED && !met(key))
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The known paths of an inode that had more than one name when they were stamped.
    pub fn links(&self, ino: u64) -> Vec<RepoPath> {
        self.read().links.get(&ino).cloned().unwrap_or_default()
    }

    /// Whether the table may have a row of this key.
    pub(super) fn has_row(&self, key: u64) -> bool {
        self.print(key).is_some()
    }

    /// What the memory becomes when the row of `path`, whose key is given, goes from `before` to `after`.
    pub(super) fn change(
        &self,
        key: u64,
        path: &RepoPath,
        before: Option<&Row>,
        after: &Row,
    ) -> Change {
        let joins = linked_inode(Some(after));
        let leaves = linked_inode(before).filter(|&old| Some(old) != joins);
        Change {
            key,
            print: self.print_of_row(after),
            joins: joins.map(|ino| (ino, path.clone())),
            leaves: leaves.map(|ino| (ino, path.clone())),
        }
    }

    /// Applies what was committed.
    pub(super) fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            inner.apply(change);
        }
    }

    fn print(&self, key: u64) -> Option<u64> {
        self.read().prints.get(&key).copied()
    }

    fn print_of_row(&self, row: &Row) -> u64 {
        match (row.state, row.mark) {
            _ if !row.is_present() => DELETED,
            (state, Some(mark)) if row.is_steady() => self.print_of(&mark, file_kind(state)),
            _ => UNSURE,
        }
    }

    fn print_of(&self, mark: &Mark, kind: FileKind) -> u64 {
        let Mark { ino, btime_ns, size, mtime_ns, ctime_ns, mode, nlink: _ } = *mark;
        let kind = match kind {
            FileKind::File => 0_u8,
            FileKind::Dir => 1,
            FileKind::Symlink => 2,
            FileKind::Special => 3,
        };
        // The number of names is left out: a new hard link elsewhere moves the ctime anyway.
        // One slice: hashed in one go, twice as fast as field by field.
        let btime_ns = btime_ns.map_or([0, 0], |btime_ns| [1, btime_ns as u64]);
        let (mode, kind) = (u64::from(mode), u64::from(kind));
        let times = [mtime_ns as u64, ctime_ns as u64];
        let print = self.keys.hash_one([[ino, size], btime_ns, times, [mode, kind]].as_flattened());
        print.max(DELETED + 1)
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The index of one repo in memory, held still.
#[derive(Debug)]
pub struct Glance<'a> {
    known: &'a Known,
    inner: RwLockReadGuard<'a, Inner>,
}

impl Glance<'_> {
    /// Compares what is on disk now with what was stamped under the path of this key.
    pub fn check(&self, key: u64, stat: &Stat) -> Look {
        match self.inner.prints.get(&key) {
            None | Some(&DELETED) => Look::New,
            Some(&print) if print == self.known.print_of(&Mark::from(stat), stat.kind) => {
                Look::Same
            }
            Some(_) => Look::Differs,
        }
    }
}

impl Inner {
    fn apply(&mut self, change: Change) {
        let before = self.prints.insert(change.key, change.print);
        let was_present = before.is_some_and(|print| print != DELETED);
        self.present += usize::from(change.print != DELETED);
        self.present -= usize::from(was_present);
        if let Some((ino, path)) = change.leaves {
            self.unlink(ino, &path);
        }
        if let Some((ino, path)) = change.joins {
            let names = self.links.entry(ino).or_default();
            if !names.contains(&path) {
                names.push(path);
            }
        }
    }

    fn unlink(&mut self, ino: u64, path: &RepoPath) {
        if let Some(names) = self.links.get_mut(&ino) {
            names.retain(|name| name != path);
            if names.is_empty() {
                self.links.remove(&ino);
            }
        }
    }
}

/// The inode of a row that is one of several names.
fn linked_inode(row: Option<&Row>) -> Option<u64> {
    let mark = row.filter(|row| row.is_present())?.mark?;
    (mark.nlink > 1).then_some(mark.ino)
}

fn file_kind(state: State) -> FileKind {
    match state {
        State::Symlink => FileKind::Symlink,
        State::Skipped(SkipReason::Special) => FileKind::Special,
        State::Content | State::Unstable | State::Deleted | State::Skipped(_) => FileKind::File,
    }
}

/// A row with the position of its newest stamp.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) row: Row,
    pub(super) at: Position,
}

/// The columns that [`read_row`] reads, in its order.
macro_rules! row_columns {
    () => {
        "ino, btime_ns, size, mtime_ns, ctime_ns, mode, nlink, digest, state, racy, pos"
    };
}
pub(super) use row_columns;

/// Reads the columns of [`row_columns`], of which the first is number `first`.
pub(super) fn read_row(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Placed> {
    let mark = match row.get::<_, Option<i64>>(first)? {
        None => None,
        Some(ino) => Some(Mark {
            ino: ino as u64,
            btime_ns: row.get(first + 1)?,
            size: row.get::<_, i64>(first + 2)? as u64,
            mtime_ns: row.get(first + 3)?,
            ctime_ns: row.get(first + 4)?,
            mode: row.get(first + 5)?,
            nlink: row.get(first + 6)?,
        }),
    };
    let digest = row.get::<_, Option<[u8; 32]>>(first + 7)?.map(Digest::from_bytes);
    let state = state_of(row.get(first + 8)?)
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(first + 8, 0))?;
    let racy = row.get(first + 9)?;
    let at = row.get(first + 10)?;
    Ok(Placed { row: Row { mark, digest, state, racy }, at })
}

/// The number of a state in the table; the migration names them.
pub(super) fn state_number(state: State) -> i64 {
    match state {
        State::Content => 0,
        State::Symlink => 1,
        State::Unstable => 2,
        State::Deleted => 3,
        State::Skipped(SkipReason::TooLarge) => 10,
        State::Skipped(SkipReason::Sparse) => 11,
        State::Skipped(SkipReason::Unreadable) => 12,
        State::Skipped(SkipReason::Special) => 13,
        State::Skipped(SkipReason::Ignored) => 14,
    }
}

pub(super) fn state_of(number: i64) -> Option<State> {
    let state = match number {
        0 => State::Content,
        1 => State::Symlink,
        2 => State::Unstable,
        3 => State::Deleted,
        10 => State::Skipped(SkipReason::TooLarge),
        11 => State::Skipped(SkipReason::Sparse),
        12 => State::Skipped(SkipReason::Unreadable),
        13 => State::Skipped(SkipReason::Special),
        14 => State::Skipped(SkipReason::Ignored),
        _ => return None,
    };
    Some(state)
}
