//! An inotify event: what it says about the directory it came from, or about a child of it.

use rustix::fs::inotify::{Event, ReadFlags};

use super::Instance;
use crate::model::path::RepoPath;
use crate::runtime::time::Timestamp;
use crate::watch::arm::Wd;
use crate::watch::decode::{Change, Node};
use crate::watch::hints::Moment;
use crate::watch::{HintKind, RootHint, Shared, State};

/// An event as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    wd: Wd,
    mask: ReadFlags,
    /// Empty when the event is about the watched directory itself.
    name: Box<[u8]>,
}

impl RawEvent {
    /// What the kernel sends when its queue is full.
    pub fn overflow() -> Self {
        Self { wd: -1, mask: ReadFlags::QUEUE_OVERFLOW, name: Box::default() }
    }

    /// Whether it is about the child of this name; the empty name is the directory itself.
    pub fn names(&self, name: &[u8]) -> bool {
        *self.name == *name
    }
}

impl From<&Event<'_>> for RawEvent {
    fn from(event: &Event<'_>) -> Self {
        let name = event.file_name().map_or(&[][..], |name| name.to_bytes());
        Self { wd: event.wd(), mask: event.events(), name: name.into() }
    }
}

/// Takes one event into the state. `empty_at` is when the queue was last seen empty: whatever an
/// overflow lost came later.
pub(super) fn decode(
    shared: &Shared,
    state: &mut State,
    instance: &mut Instance,
    event: &RawEvent,
    (at, empty_at): (Moment, Timestamp),
) {
    if event.mask.contains(ReadFlags::QUEUE_OVERFLOW) {
        return state.pending.note_overflow(empty_at, at);
    }
    if instance.anchor.has(event.wd) {
        let told = (event.wd, event.mask, &*event.name);
        if let Some(hint) = instance.anchor.turn(&instance.fd, told) {
            state.pending.note_root(hint);
        }
        return;
    }
    let Some(dir) = state.table.path(event.wd).cloned() else { return };
    if event.name.is_empty() {
        return own_event(state, instance, &dir, event, at);
    }
    for change in changes(event.mask) {
        state.change(shared, (&dir, &event.name), change, at);
    }
}

/// What a mask says of a child. Truncating by `truncate` is one event with two bits.
fn changes(mask: ReadFlags) -> impl Iterator<Item = Change> {
    let node = if mask.contains(ReadFlags::ISDIR) { Node::Dir } else { Node::File };
    [
        (ReadFlags::MOVED_FROM, Change::Gone(node)),
        (ReadFlags::DELETE, Change::Gone(node)),
        (ReadFlags::MOVED_TO, Change::MovedIn(node)),
        (ReadFlags::CREATE, Change::Created(node)),
        (ReadFlags::ATTRIB, Change::Attributes(node)),
        (ReadFlags::MODIFY, Change::Modified),
        (ReadFlags::CLOSE_WRITE, Change::Closed),
    ]
    .into_iter()
    .filter_map(move |(flag, change)| mask.contains(flag).then_some(change))
}

/// An event about an armed directory itself. Its parent tells of everything but the end of the
/// watch. The root has the anchor for that; where it has none, it tells itself of its move. It
/// cannot be deleted for good nor unmounted while we hold it open.
fn own_event(state: &mut State, instance: &Instance, dir: &RepoPath, event: &RawEvent, at: Moment) {
    let mask = event.mask;
    if dir.is_root() {
        if mask.contains(ReadFlags::MOVE_SELF) && !instance.anchor.holds_parent() {
            state.pending.note_root(RootHint::Moved);
        }
        if mask.contains(ReadFlags::ATTRIB) {
            state.pending.note_path(dir, HintKind::DirTouched, at);
        }
    } else if mask.intersects(ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
        // Still mapped: either the parent is not armed, or the walk was quicker than we are and the
        // path is right already. Not to know is to have it looked at.
        state.table.detach(dir);
        state.pending.note_path(dir, HintKind::TreeDirty, at);
    }
    if mask.contains(ReadFlags::IGNORED) {
        state.table.forget(event.wd);
    }
}
