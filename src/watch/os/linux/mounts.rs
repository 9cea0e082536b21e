//! Mounts and unmounts, as far as they change what stands at the root's path.
//!
//! The kernel tells inotify of an unmount only when nobody holds the file system open any more, and
//! we hold the root. It does wake whoever polls its list of mounts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};

use crate::runtime::rooted::{Presence, Root};

/// The list of mounts, and what stood at the root's path when it changed last.
#[derive(Debug)]
pub(super) struct Mounts {
    list: OwnedFd,
    presence: Presence,
}

impl Mounts {
    /// Opens the list; `None` where `/proc` does not show it. To be followed by a
    /// [`turn`](Self::turn), since the root was opened earlier.
    pub(super) fn open() -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let list = rustix::fs::openat(CWD, "/proc/self/mountinfo", flags, Mode::empty()).ok()?;
        Some(Self { list, presence: Presence::Same })
    }

    /// Takes a change of the list; tells whether something else stands at the root's path now.
    pub(super) fn turn(&mut self, root: &Root) -> bool {
        let now = root.presence();
        std::mem::replace(&mut self.presence, now) != now
    }
}

impl AsFd for Mounts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.list.as_fd()
    }
}
