//! Which directory each watch stands for, and how a directory gets one.
//!
//! Promises: an event is reported under the path that its directory has, or not at all. A path is
//! mapped before it is checked to lead to the watched directory, and a directory that moves away
//! loses its mapping together with everything below it; so whichever comes first, the move or the
//! check, one of them notices. Directories are to be armed from the top down, since a move is told
//! by the watch on the parent.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustc_hash::FxHashMap;

use super::os::{AddError, Source};
use super::{HintKind, Shared};
use crate::model::path::RepoPath;
use crate::runtime::rooted::{self, Root};

/// A directory to be armed.
#[derive(Clone, Debug)]
pub struct ArmTarget<'a> {
    /// The path it was opened by.
    pub path: RepoPath,
    /// The directory, opened below the root without following links.
    pub fd: BorrowedFd<'a>,
}

/// What came of arming one directory.
#[derive(Debug)]
pub enum Armed {
    /// It is watched; list it now.
    Yes,
    /// The user has no watches left: poll it, and see [`limit::report`](super::limit::report).
    LimitReached,
    /// The path leads elsewhere by now; a hint about it is in the set already.
    Moved,
    /// It is one of our own directories, which are never watched.
    Excluded,
    /// Anything else, such as a directory that we may not read.
    Failed(io::Error),
}

impl Armed {
    /// Whether the directory is watched.
    pub fn is_armed(&self) -> bool {
        matches!(self, Self::Yes)
    }
}

/// A watch descriptor.
pub(super) type Wd = i32;

/// Both directions between watches and paths, each path at most once.
#[derive(Debug, Default)]
pub(super) struct Table {
    by_wd: FxHashMap<Wd, RepoPath>,
    /// Ordered, so that a subtree is a range.
    by_path: BTreeMap<RepoPath, Wd>,
    /// Watches that stand for no path any more, to be removed when there is time. One that is
    /// mapped again by then is kept.
    doomed: Vec<Wd>,
}

impl Table {
    /// Directories armed.
    pub(super) fn len(&self) -> usize {
        self.by_path.len()
    }

    /// The directory that a watch stands for.
    #[cfg_attr(target_os = "macos", expect(dead_code, reason = "events come by path on macOS"))]
    pub(super) fn path(&self, wd: Wd) -> Option<&RepoPath> {
        self.by_wd.get(&wd)
    }

    /// Whether a directory is armed.
    pub(super) fn holds(&self, path: &RepoPath) -> bool {
        self.by_path.contains_key(path)
    }

    /// Maps a watch to a path; the path it stood for before, if another, is given back.
    pub(super) fn map(&mut self, wd: Wd, path: &RepoPath) -> Option<RepoPath> {
        if let Some(other) = self.by_path.insert(path.clone(), wd)
            && other != wd
        {
            self.by_wd.remove(&other);
            self.doomed.push(other);
        }
        let before = self.by_wd.insert(wd, path.clone()).filter(|before| before != path)?;
        self.by_path.remove(&before);
        Some(before)
    }

    /// Forgets a watch that the kernel has removed.
    #[cfg_attr(target_os = "macos", expect(dead_code, reason = "watches never end on macOS"))]
    pub(super) fn forget(&mut self, wd: Wd) {
        if let Some(path) = self.by_wd.remove(&wd) {
            self.by_path.remove(&path);
        }
    }

    /// Takes the mapping from a directory and everything below it; tells whether there was any.
    pub(super) fn detach(&mut self, dir: &RepoPath) -> bool {
        let subtree = self.subtree(dir);
        for path in &subtree {
            if let Some(wd) = self.by_path.remove(path) {
                self.by_wd.remove(&wd);
                self.doomed.push(wd);
            }
        }
        !subtree.is_empty()
    }

    /// Takes up to `max` watches that are to be removed.
    pub(super) fn take_doomed(&mut self, max: usize) -> Vec<Wd> {
        let from = self.doomed.len().saturating_sub(max);
        let mut taken = self.doomed.split_off(from);
        taken.retain(|wd| !self.by_wd.contains_key(wd));
        taken
    }

    /// Watches waiting to be removed.
    pub(super) fn doomed(&self) -> usize {
        self.doomed.len()
    }

    fn subtree(&self, dir: &RepoPath) -> Vec<RepoPath> {
        if dir.is_root() {
            return self.by_path.keys().cloned().collect();
        }
        // Below `dir` lies what starts with `dir/`, and `0` is the byte after `/`.
        let edge = |last: u8| [dir.as_bytes(), &[last]].concat();
        let (from, to) = (edge(b'/'), edge(b'0'));
        let below = (Bound::Excluded(from.as_slice()), Bound::Excluded(to.as_slice()));
        let itself = self.by_path.get_key_value(dir).map(|(path, _)| path);
        itself
            .into_iter()
            .chain(self.by_path.range::<[u8], _>(below).map(|(path, _)| path))
            .cloned()
            .collect()
    }
}

/// Arms directories: all of them first, then checks that each path still leads to its directory.
pub(super) fn arm(shared: &Shared, source: &Source, targets: &[ArmTarget<'_>]) -> Vec<Armed> {
    let mut verdicts = Vec::with_capacity(targets.len());
    let mut moved_from = Vec::with_capacity(targets.len());
    for target in targets {
        let (verdict, before) = add(shared, source, target);
        verdicts.push(verdict);
        moved_from.push(before);
    }
    let mut check = Check::new(&shared.root);
    for ((target, verdict), before) in targets.iter().zip(&mut verdicts).zip(moved_from) {
        if verdict.is_armed() && !check.leads_to(target) {
            *verdict = Armed::Moved;
            withdraw(shared, target, before.as_ref());
        }
    }
    if shared.lock().table.doomed() > 0 {
        source.kick();
    }
    verdicts
}

/// Adds the watch and maps it in one step, so that no event of it finds it unmapped.
fn add(shared: &Shared, source: &Source, target: &ArmTarget<'_>) -> (Armed, Option<RepoPath>) {
    if shared.is_excluded(&target.path) {
        return (Armed::Excluded, None);
    }
    let mut state = shared.lock();
    match source.add(target.fd) {
        Ok(wd) => (Armed::Yes, state.table.map(wd, &target.path)),
        Err(AddError::LimitReached) => (Armed::LimitReached, None),
        Err(AddError::Failed(error)) => (Armed::Failed(error), None),
    }
}

/// Takes back a mapping that turned out wrong, and leaves hints about whom it may have hurt: the
/// path, whose right directory may have been armed in between, and the one the directory had before.
fn withdraw(shared: &Shared, target: &ArmTarget<'_>, before: Option<&RepoPath>) {
    let at = shared.now();
    shared.absorb(|state| {
        state.table.detach(&target.path);
        for path in [Some(&target.path), before].into_iter().flatten() {
            state.pending.note_path(path, HintKind::TreeDirty, at);
        }
    });
}

/// Looks up whether paths lead to the directories that were armed under them.
///
/// Keeps the parent of the last path open, since a batch is mostly siblings. That is sound because
/// it is opened after the whole batch was mapped: a parent that moves away later takes its mapped
/// children along when its move is read.
struct Check<'a> {
    root: &'a Root,
    parent: Option<(RepoPath, OwnedFd)>,
}

impl<'a> Check<'a> {
    fn new(root: &'a Root) -> Self {
        Self { root, parent: None }
    }

    fn leads_to(&mut self, target: &ArmTarget<'_>) -> bool {
        self.look_up(target).unwrap_or(false)
    }

    fn look_up(&mut self, target: &ArmTarget<'_>) -> io::Result<bool> {
        let armed = rooted::stat_fd(target.fd)?;
        let Some(parent) = target.path.parent() else {
            return Ok(armed.is_inode(&rooted::stat_fd(self.root.as_fd())?));
        };
        let dir = match &self.parent {
            Some((path, dir)) if *path == parent => dir,
            _ => {
                let dir = self.root.open_dir(parent.as_bytes())?;
                &self.parent.insert((parent, dir)).1
            }
        };
        Ok(armed.is_inode(&rooted::stat_at(dir.as_fd(), target.path.name())?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_subtree_is_the_directory_and_what_is_below_but_no_namesake() {
        let mut table = Table::default();
        for (wd, text) in ["", "a", "a-b", "a/b", "a/b/c", "a0", "ab"].into_iter().enumerate() {
            assert_eq!(table.map(wd as Wd, &path(text)), None);
        }
        assert!(table.detach(&path("a")));
        let left: Vec<_> = table.by_path.keys().cloned().collect();
        assert_eq!(left, ["", "a-b", "a0", "ab"].map(path));
        assert!(!table.detach(&path("a")));
        assert!(table.detach(&RepoPath::root()));
        assert_eq!((table.len(), table.doomed()), (0, 7));
    }

    #[test]
    fn a_watch_that_is_mapped_again_is_not_removed() {
        let mut table = Table::default();
        table.map(1, &path("old"));
        table.map(2, &path("old/deep"));
        table.detach(&path("old"));
        table.map(1, &path("new"));
        assert_eq!(table.take_doomed(10), [2]);
        assert_eq!(table.path(1), Some(&path("new")));
    }

    proptest! {
        /// However directories are armed, moved, given up and removed by the kernel: the two maps
        /// say the same, and a watch that stands for nothing is waiting to be removed.
        #[test]
        fn both_directions_always_agree(steps in proptest::collection::vec(step(), 0..100)) {
            let mut table = Table::default();
            let mut alive = std::collections::BTreeSet::new();
            for step in steps {
                match step {
                    Step::Map(wd, path) => {
                        alive.insert(wd);
                        table.map(wd, &path);
                    }
                    Step::Detach(path) => {
                        table.detach(&path);
                        prop_assert!(table.subtree(&path).is_empty());
                    }
                    Step::Ignored(wd) => {
                        alive.remove(&wd);
                        table.forget(wd);
                    }
                    Step::Remove => {
                        for wd in table.take_doomed(2) {
                            alive.remove(&wd);
                        }
                    }
                }
                prop_assert_eq!(table.by_wd.len(), table.by_path.len());
                for (path, wd) in &table.by_path {
                    prop_assert_eq!(table.path(*wd), Some(path));
                }
                for wd in &alive {
                    prop_assert!(table.path(*wd).is_some() || table.doomed.contains(wd));
                }
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Map(Wd, RepoPath),
        Detach(RepoPath),
        Ignored(Wd),
        Remove,
    }

    fn step() -> impl Strategy<Value = Step> {
        let paths =
            || prop::sample::select(&["", "a", "a/b", "a/b/c", "b", "b/c"][..]).prop_map(path);
        prop_oneof![
            4 => (0..6, paths()).prop_map(|(wd, path)| Step::Map(wd, path)),
            1 => paths().prop_map(Step::Detach),
            1 => (0..6).prop_map(Step::Ignored),
            1 => Just(Step::Remove),
        ]
    }

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text.as_bytes()).expect("well-formed")
    }
}
