//! The place where the root is expected: who watches it when the root itself is not there.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::fs::{CWD, Mode, OFlags};

use crate::watch::RootHint;
use crate::watch::arm::Wd;

/// Names that come and go, and the end of the directory itself; never what is inside files.
const PLACE: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Looks at the way to the root before it is taken for settled: each but the last found it changing.
const LOOKS_MAX: usize = 16;

/// The watches on the way to a root: on its parent while it is there, and on every ancestor that
/// exists while it is not.
///
/// The parent alone would not do then: it is not told of its own end while we hold the root open,
/// since that keeps it from going for good. All ancestors always would not do either: `/tmp` or a
/// home directory has more visitors than an idle reader should wake for.
#[derive(Debug)]
pub(super) struct Anchor {
    root: PathBuf,
    /// The nearest first.
    holds: Vec<Hold>,
}

#[derive(Debug, PartialEq, Eq)]
struct Hold {
    wd: Wd,
    dir: PathBuf,
    /// The name in `dir` that leads on to the root.
    next: OsString,
}

impl Anchor {
    /// Watches the place of `root`.
    ///
    /// There may be nothing to watch: above `/`, or where nothing may be read. A root that comes or
    /// goes is then noticed by whoever looks next.
    pub(super) fn drop_at(instance: &OwnedFd, root: &Path) -> Self {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let mut anchor = Self { root, holds: Vec::new() };
        anchor.settle(instance);
        anchor
    }

    /// Whether a watch is one of these.
    pub(super) fn has(&self, wd: Wd) -> bool {
        self.hold(wd).is_some()
    }

    /// Whether the root's parent is watched, and not only something above it.
    pub(super) fn holds_parent(&self) -> bool {
        self.holds.iter().any(|hold| hold.is_parent_of(&self.root))
    }

    /// Takes an event of one of its watches: tells what it means for the root, and moves on when
    /// the way to the root has changed.
    pub(super) fn turn(
        &mut self,
        instance: &OwnedFd,
        (wd, mask, name): (Wd, ReadFlags, &[u8]),
    ) -> Option<RootHint> {
        let hold = self.hold(wd)?;
        let own_end = mask.intersects(
            ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED,
        );
        if !own_end && hold.next != OsStr::from_bytes(name) {
            return None;
        }
        let hint = if own_end || !hold.is_parent_of(&self.root) {
            RootHint::AncestorChanged
        } else if mask.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            RootHint::Appeared
        } else if mask.contains(ReadFlags::MOVED_FROM) {
            RootHint::Moved
        } else {
            RootHint::Deleted
        };
        self.settle(instance);
        Some(hint)
    }

    fn hold(&self, wd: Wd) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.wd == wd)
    }

    /// Watches what is there, then looks again, until nothing has changed in between.
    fn settle(&mut self, instance: &OwnedFd) {
        for _ in 0..LOOKS_MAX {
            let held_max = if self.root.symlink_metadata().is_ok() { 1 } else { usize::MAX };
            let ancestors = self.root.ancestors().skip(1);
            let holds: Vec<_> = ancestors
                .filter_map(|dir| Hold::on(instance, dir, &self.root))
                .take(held_max)
                .collect();
            if holds == self.holds {
                return;
            }
            let before = std::mem::replace(&mut self.holds, holds);
            for left in before.iter().filter(|before| !self.has(before.wd)) {
                // Fails when its directory was deleted, which removed it.
                let _ = inotify::remove_watch(instance, left.wd);
            }
        }
    }
}

impl Hold {
    fn on(instance: &OwnedFd, dir: &Path, root: &Path) -> Option<Self> {
        let next = root.strip_prefix(dir).ok()?.components().next()?.as_os_str().to_owned();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, dir, flags, Mode::empty()).ok()?;
        let by_fd = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let wd = inotify::add_watch(instance, by_fd, PLACE).ok()?;
        Some(Self { wd, dir: dir.to_owned(), next })
    }

    fn is_parent_of(&self, root: &Path) -> bool {
        root.parent() == Some(&self.dir)
    }
}
