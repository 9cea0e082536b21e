//! Linux: one inotify instance and one thread per repo.
//!
//! Watches are put on open directories through `/proc/self/fd`, so a watch is on exactly the inode
//! that the walk holds open, however long its path is and whatever is renamed meanwhile. The thread
//! sleeps in `poll` until there are events, or watches to remove, or it is to stop.

mod anchor;
mod event;
mod mounts;
mod reader;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

pub use self::event::RawEvent;
pub use self::reader::Tap;

use self::anchor::Anchor;
use self::reader::Reader;
use super::AddError;
use crate::watch::arm::{Table, Wd};
use crate::watch::{Shared, WatchError};

/// Everything that may change what a file holds or where it is. Opens and reads are not part of it,
/// so hashing makes no events for ourselves. `EXCL_UNLINK`: what happens to a file that has no name
/// any more is nobody's business.
const DIR: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);

/// An inotify instance and the thread that reads it.
pub(crate) struct Source {
    reader: Arc<Reader>,
    thread: Option<JoinHandle<()>>,
}

/// What a reset replaces as one. Locked after the watch's state where both are.
struct Instance {
    fd: Arc<OwnedFd>,
    /// Counts the resets, since another instance gives the same numbers to its watches.
    generation: u64,
    anchor: Anchor,
}

impl Source {
    /// Makes an instance, watches the place of the root, and starts the reader.
    pub(crate) fn open(shared: &Arc<Shared>) -> Result<Self, WatchError> {
        let start =
            |source: io::Error| WatchError::Start { path: shared.root.path().to_owned(), source };
        let reader = Arc::new(Reader::new(Instance::new(shared)?).map_err(start)?);
        let (of_thread, shared) = (Arc::clone(&reader), Arc::clone(shared));
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || of_thread.run(&shared))
            .map_err(start)?;
        Ok(Self { reader, thread: Some(thread) })
    }

    /// Puts a watch on an open directory; the same one again if it has one.
    pub(crate) fn add(&self, dir: BorrowedFd<'_>) -> Result<Wd, AddError> {
        let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
        match inotify::add_watch(&*self.reader.instance().fd, path, DIR) {
            Ok(wd) => Ok(wd),
            Err(Errno::NOSPC) => Err(AddError::LimitReached),
            Err(errno) => Err(AddError::Failed(errno.into())),
        }
    }

    /// Has the reader look for watches to remove.
    pub(crate) fn kick(&self) {
        self.reader.kick();
    }

    /// Replaces the instance by a new one that watches nothing but the place of the root.
    pub(crate) fn reset(&self, shared: &Shared) -> Result<(), WatchError> {
        let mut fresh = Instance::new(shared)?;
        let mut state = shared.lock();
        let mut instance = self.reader.instance();
        fresh.generation = instance.generation + 1;
        state.table = Table::default();
        let old = std::mem::replace(&mut *instance, fresh);
        drop((instance, state));
        self.kick();
        drop(old);
        Ok(())
    }

    /// Stalls the reader while the guard lives.
    pub(crate) fn stall(&self) -> MutexGuard<'_, ()> {
        self.reader.gate()
    }

    /// Puts a test's hands on the events.
    pub(crate) fn tap(&self, tap: Tap) {
        self.reader.set_tap(tap);
    }

    /// Takes events that were not read.
    pub(crate) fn feed(&self, shared: &Shared, events: &[RawEvent]) {
        let generation = self.reader.instance().generation;
        self.reader.absorb(shared, generation, events, shared.clock.now());
    }

    /// The reader's thread; 0 before it runs.
    pub(crate) fn reader_tid(&self) -> i32 {
        self.reader.tid()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.reader.stop();
        if let Some(thread) = self.thread.take() {
            // A reader that panicked has said so on its way; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl Instance {
    fn new(shared: &Shared) -> Result<Self, WatchError> {
        let fd =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(
                |errno| match errno {
                    Errno::MFILE => WatchError::InstanceLimit(errno.into()),
                    errno => WatchError::Start {
                        path: shared.root.path().to_owned(),
                        source: errno.into(),
                    },
                },
            )?;
        let anchor = Anchor::drop_at(&fd, shared.root.path());
        Ok(Self { fd: Arc::new(fd), generation: 0, anchor })
    }
}
