//! From a change in a directory to a hint: the same for every platform and every fake.
//!
//! Holds what a change means for the hints and for the table of watches. Promises that a directory
//! which moved or went loses its mapping before the next event is looked at, so that nothing is
//! reported under a path it no longer has.

use super::hints::Moment;
use super::{HintKind, Shared, State};
use crate::model::path::RepoPath;

/// What an event says happened to a child of an armed directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Created, or a link to it was made.
    Created(Node),
    /// Moved in under this name.
    #[cfg_attr(target_os = "macos", expect(dead_code, reason = "FSEvents tells no sides"))]
    MovedIn(Node),
    /// Deleted, or moved away from this name.
    Gone(Node),
    /// Written.
    Modified,
    /// Given another mode, owner, time or link count.
    Attributes(Node),
    /// Closed by one who had it open for writing.
    Closed,
    /// Something that the platform does not tell more closely.
    #[cfg_attr(target_os = "linux", expect(dead_code, reason = "inotify always tells more"))]
    Unclear,
}

/// What the child is, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A directory.
    Dir,
    /// Anything else.
    File,
}

impl Change {
    fn kind(self) -> HintKind {
        match self {
            Self::Created(Node::Dir) | Self::MovedIn(Node::Dir) => HintKind::DirAppeared,
            Self::Gone(Node::Dir) => HintKind::DirGone,
            Self::Attributes(Node::Dir) => HintKind::DirTouched,
            Self::Created(Node::File) | Self::Modified | Self::Attributes(Node::File) => {
                HintKind::Touched
            }
            Self::MovedIn(Node::File) => HintKind::MovedIn,
            Self::Gone(Node::File) => HintKind::Gone,
            Self::Closed => HintKind::Closed,
            Self::Unclear => HintKind::TreeDirty,
        }
    }
}

impl State {
    /// Takes a change of `name` in the armed directory `dir`.
    pub(super) fn change(
        &mut self,
        shared: &Shared,
        (dir, name): (&RepoPath, &[u8]),
        change: Change,
        at: Moment,
    ) {
        if !shared.excluded.is_empty() && shared.is_excluded(&dir.join(name)) {
            return;
        }
        if change == Change::Gone(Node::Dir) {
            self.table.detach(&dir.join(name));
        }
        self.pending.note(dir, name, change.kind(), at);
    }
}
