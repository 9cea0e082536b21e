//! macOS: one FSEvents stream over the whole root, through notify.
//!
//! FSEvents watches trees and not directories, so arming a directory costs nothing: it says that
//! changes in it are wanted, and everything else is dropped here. It tells little of what happened
//! (a rename has no sides, several changes of one path come as one), so much becomes
//! [`Change::Unclear`], which has the path compared with the disk.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Event, EventKind, EventKindMask, FsEventWatcher, RecursiveMode, Watcher as _};

use super::AddError;
use crate::runtime::time::Timestamp;
use crate::watch::arm::{Table, Wd};
use crate::watch::decode::{Change, Node};
use crate::watch::hints::Moment;
use crate::watch::{RootHint, Shared, State, WatchError, below};

/// An FSEvents stream and the thread that notify reads it with.
pub(crate) struct Source {
    shared: Arc<Shared>,
    stream: Mutex<FsEventWatcher>,
    /// Watches are only numbers here: the table wants one for each path.
    next: AtomicI32,
}

impl Source {
    /// Starts the stream.
    pub(crate) fn open(shared: &Arc<Shared>) -> Result<Self, WatchError> {
        let stream = Mutex::new(start(shared)?);
        Ok(Self { shared: Arc::clone(shared), stream, next: AtomicI32::new(0) })
    }

    /// Gives a number to a directory that the stream covers already.
    #[expect(clippy::unnecessary_wraps, reason = "the same on every platform")]
    pub(crate) fn add(&self, _dir: BorrowedFd<'_>) -> Result<Wd, AddError> {
        Ok(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Forgets the numbers that stand for nothing any more.
    pub(crate) fn kick(&self) {
        self.shared.lock().table.take_doomed(usize::MAX);
    }

    /// Replaces the stream by a new one, with nothing armed.
    pub(crate) fn reset(&self, shared: &Arc<Shared>) -> Result<(), WatchError> {
        let fresh = start(shared)?;
        shared.lock().table = Table::default();
        let mut stream = self.stream.lock().expect("no holder of the stream panics");
        drop(std::mem::replace(&mut *stream, fresh));
        Ok(())
    }
}

fn start(shared: &Arc<Shared>) -> Result<FsEventWatcher, WatchError> {
    let failed = |error: notify::Error| WatchError::Start {
        path: shared.root.path().to_owned(),
        source: io::Error::other(error),
    };
    let config = notify::Config::default()
        .with_follow_symlinks(false)
        .with_event_kinds(EventKindMask::CORE | EventKindMask::ACCESS_CLOSE);
    let mut handler = Handler { shared: Arc::clone(shared), last: shared.clock.now() };
    let mut stream =
        FsEventWatcher::new(move |event| handler.take(event), config).map_err(failed)?;
    stream.watch(shared.root.path(), RecursiveMode::Recursive).map_err(failed)?;
    Ok(stream)
}

/// What the stream's thread owns.
struct Handler {
    shared: Arc<Shared>,
    /// When the last event came: whatever was lost came later.
    last: Timestamp,
}

impl Handler {
    fn take(&mut self, event: notify::Result<Event>) {
        let shared = &self.shared;
        let at = shared.now();
        shared.absorb(|state| {
            state.events += 1;
            match event {
                Ok(event) if event.need_rescan() => state.pending.note_overflow(self.last, at),
                Ok(event) => {
                    for path in &event.paths {
                        decode(shared, state, path, event.kind, at);
                    }
                }
                Err(error) => state.pending.note_blind(io::Error::other(error)),
            }
        });
        self.last = at.wall;
    }
}

fn decode(shared: &Shared, state: &mut State, path: &Path, kind: EventKind, at: Moment) {
    let Some(path) = below(shared.root.path(), path) else { return };
    let Some(dir) = path.parent() else {
        if let Some(hint) = of_root(kind) {
            state.pending.note_root(hint);
        }
        return;
    };
    if !state.table.holds(&dir) {
        return;
    }
    if let Some(change) = change(kind) {
        state.change(shared, (&dir, path.name()), change, at);
    }
}

/// What an event about the root's own path says. The stream goes by the path, so a new directory
/// there is seen too.
fn of_root(kind: EventKind) -> Option<RootHint> {
    match kind {
        EventKind::Create(_) => Some(RootHint::Appeared),
        EventKind::Remove(RemoveKind::Other) => Some(RootHint::Remounted),
        EventKind::Remove(_) => Some(RootHint::Deleted),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(RootHint::Appeared),
        EventKind::Modify(ModifyKind::Name(_)) => Some(RootHint::Moved),
        EventKind::Any | EventKind::Other => Some(RootHint::AncestorChanged),
        EventKind::Access(_) | EventKind::Modify(_) => None,
    }
}

fn change(kind: EventKind) -> Option<Change> {
    match kind {
        EventKind::Create(CreateKind::Folder) => Some(Change::Created(Node::Dir)),
        EventKind::Create(CreateKind::File) => Some(Change::Created(Node::File)),
        EventKind::Remove(RemoveKind::Folder) => Some(Change::Gone(Node::Dir)),
        EventKind::Remove(RemoveKind::File) => Some(Change::Gone(Node::File)),
        EventKind::Modify(ModifyKind::Data(_)) => Some(Change::Modified),
        EventKind::Modify(ModifyKind::Metadata(_)) => Some(Change::Attributes(Node::File)),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Change::Closed),
        EventKind::Access(_) => None,
        // A rename tells neither its side nor whether it is a directory's; the rest tells less.
        EventKind::Any
        | EventKind::Other
        | EventKind::Create(_)
        | EventKind::Remove(_)
        | EventKind::Modify(_) => Some(Change::Unclear),
    }
}
