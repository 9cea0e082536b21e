//! What the events of a repo came to: a bounded set of hints, and nothing but hints.
//!
//! Holds the set, how two hints about one path become one, and how too many of them become fewer
//! that say less. Promises: at most [`Limits::queue_paths_max`] paths whatever the kernel sends, and
//! no event without a hint that covers it. What a hint is worth is found out by whoever takes it,
//! on the disk. Pure: the time comes in with each event.

use std::io;
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::model::path::RepoPath;
use crate::runtime::time::Timestamp;

/// How much the set holds before it says less about more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Paths held at once, above which the whole repo is dirty.
    pub queue_paths_max: usize,
    /// Children of one directory held at once, above which the directory is dirty.
    pub dir_paths_max: usize,
}

/// When an event was read: for waiting, and for the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// On the steady clock.
    pub instant: Instant,
    /// On the wall clock.
    pub wall: Timestamp,
}

/// Everything that was hinted since the last take.
#[derive(Debug, Default)]
pub struct Hints {
    /// Each path once, sorted by path, so that siblings are neighbours.
    pub paths: Vec<Hint>,
    /// Events were lost: nothing short of comparing the whole repo with the disk makes up for it.
    pub overflow: Option<Overflow>,
    /// What happened last to the root itself, or where it was.
    pub root: Option<RootHint>,
    /// The reader failed and sees nothing more until [`reset`](super::Watch::reset).
    pub blind: Option<io::Error>,
}

/// One path that may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Which.
    pub path: RepoPath,
    /// What to look for.
    pub kind: HintKind,
    /// When the first event since the last take was read, on the steady clock.
    pub first: Instant,
    /// The same moment on the wall clock.
    pub seen: Timestamp,
}

/// What a hint asks to be looked for.
///
/// The last event about a file wins; a directory's hints add up. Only the disk tells what is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HintKind {
    /// A file was created, written, or given other attributes: it may be in the middle of it.
    Touched,
    /// A file that was open for writing was closed.
    Closed,
    /// A file was moved here.
    MovedIn,
    /// A file was deleted or moved away.
    Gone,
    /// A directory's own attributes changed: it may have become readable, or ceased to be.
    DirTouched,
    /// Too many files of a directory changed to name them: arm it and compare its direct children.
    DirDirty,
    /// A directory was created or moved here: arm it, compare it, and everything below likewise.
    DirAppeared,
    /// A directory was deleted or moved away, and its watches are given up.
    DirGone,
    /// The path changed in ways that no other kind says: compare it, whatever it is now, and
    /// everything below, arming the directories again.
    TreeDirty,
}

/// Events that the kernel had no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// A time before which nothing was lost: when the queue was last seen empty.
    pub since: Timestamp,
    /// When the newest of them was noticed.
    pub seen: Timestamp,
    /// How often since the last take.
    pub count: u64,
}

/// What happened to the root, or to the directory that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootHint {
    /// Something of the root's name was created or moved to where the root is expected.
    Appeared,
    /// The root was deleted.
    Deleted,
    /// The root was moved away.
    Moved,
    /// Something was mounted or unmounted, and another directory than before stands at its path.
    Remounted,
    /// A directory on the way to the root was created, moved or deleted.
    AncestorChanged,
}

impl HintKind {
    /// Whether it speaks of a file; the others may speak of whole trees.
    pub fn is_file(self) -> bool {
        matches!(self, Self::Touched | Self::Closed | Self::MovedIn | Self::Gone)
    }

    /// The kind that covers both an earlier and a later hint about one path.
    fn then(self, later: Self) -> Self {
        use HintKind::{DirAppeared, DirDirty, DirGone, DirTouched};
        match (self, later) {
            (earlier, later) if earlier == later => later,
            (earlier, later) if earlier.is_file() && later.is_file() => later,
            (DirTouched | DirDirty, DirGone) => DirGone,
            (DirTouched | DirDirty | DirAppeared, DirTouched | DirDirty | DirAppeared) => {
                self.max(later)
            }
            // A file became a directory or the reverse, or a directory went and came.
            _ => Self::TreeDirty,
        }
    }
}

/// The set itself. Written by the reader, emptied by [`take`](Self::take).
#[derive(Debug)]
pub(super) struct Pending {
    limits: Limits,
    /// By directory, so that an event about a path that is in the set already costs no allocation.
    dirs: FxHashMap<RepoPath, Dir>,
    /// Directories in `dirs` and children in them.
    len: usize,
    /// The root's own hint; it has no directory that we hold.
    root_dir: Option<Noted>,
    overflow: Option<Overflow>,
    root: Option<RootHint>,
    blind: Option<io::Error>,
}

#[derive(Debug, Default)]
struct Dir {
    children: FxHashMap<Box<[u8]>, Noted>,
    /// Set once the children were too many; the directory's own hint tells the rest. Invariant: that
    /// hint is in the set as long as this is.
    collapsed: Option<HintKind>,
}

#[derive(Clone, Copy, Debug)]
struct Noted {
    kind: HintKind,
    first: Moment,
}

impl Moment {
    fn or_older(self, other: Self) -> Self {
        if other.instant < self.instant { other } else { self }
    }
}

impl Noted {
    fn add(&mut self, kind: HintKind, at: Moment) {
        self.kind = self.kind.then(kind);
        self.first = self.first.or_older(at);
    }
}

impl Pending {
    /// An empty set.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            dirs: FxHashMap::default(),
            len: 0,
            root_dir: None,
            overflow: None,
            root: None,
            blind: None,
        }
    }

    /// Whether there is nothing to take.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
            && self.root_dir.is_none()
            && self.overflow.is_none()
            && self.root.is_none()
            && self.blind.is_none()
    }

    /// Paths held, counting a directory that has some as one more.
    pub(super) fn len(&self) -> usize {
        self.len + usize::from(self.root_dir.is_some())
    }

    /// Notes a hint about `name` in `dir`.
    pub(super) fn note(&mut self, dir: &RepoPath, name: &[u8], kind: HintKind, at: Moment) {
        if self.is_flooded() {
            return;
        }
        let gone = kind == HintKind::DirGone;
        let at = if gone { self.forget_below(&dir.join(name), at) } else { at };
        if !self.dirs.contains_key(dir) {
            self.dirs.insert(dir.clone(), Dir::default());
            self.len += 1;
        }
        let entry = self.dirs.get_mut(dir).expect("it was there or has just been inserted");
        match entry.collapsed {
            Some(_) if !kind.is_file() => {
                entry.collapsed = Some(HintKind::TreeDirty);
                let first = self.forget_below(&dir.join(name), at);
                return self.note_path(dir, HintKind::TreeDirty, first);
            }
            Some(_) => return,
            None => {}
        }
        if let Some(noted) = entry.children.get_mut(name) {
            return noted.add(kind, at);
        }
        entry.children.insert(name.into(), Noted { kind, first: at });
        self.len += 1;
        if entry.children.len() > self.limits.dir_paths_max {
            self.collapse(dir, at);
        }
        if self.len > self.limits.queue_paths_max {
            self.flood(at);
        }
    }

    /// Notes a hint about a path, which may be the root.
    pub(super) fn note_path(&mut self, path: &RepoPath, kind: HintKind, at: Moment) {
        if let Some(dir) = path.parent() {
            return self.note(&dir, path.name(), kind, at);
        }
        let noted = self.root_dir.get_or_insert(Noted { kind, first: at });
        noted.add(kind, at);
        if noted.kind == HintKind::TreeDirty {
            self.flood(at);
        }
    }

    /// Notes that the kernel dropped events since `since`.
    pub(super) fn note_overflow(&mut self, since: Timestamp, at: Moment) {
        let overflow = self.overflow.get_or_insert(Overflow { since, seen: at.wall, count: 0 });
        overflow.seen = at.wall;
        overflow.count += 1;
    }

    /// Notes what happened to the root; the last such event wins.
    pub(super) fn note_root(&mut self, hint: RootHint) {
        self.root = Some(hint);
    }

    /// Notes that the reader sees nothing more.
    pub(super) fn note_blind(&mut self, error: io::Error) {
        self.blind = Some(error);
    }

    /// Empties the set.
    pub(super) fn take(&mut self) -> Hints {
        let taken = std::mem::replace(self, Self::new(self.limits));
        let mut paths = Vec::with_capacity(taken.len());
        let hint = |path, noted: Noted| Hint {
            path,
            kind: noted.kind,
            first: noted.first.instant,
            seen: noted.first.wall,
        };
        paths.extend(taken.root_dir.map(|noted| hint(RepoPath::root(), noted)));
        for (dir, entry) in taken.dirs {
            paths.extend(
                entry.children.into_iter().map(|(name, noted)| hint(dir.join(&name), noted)),
            );
        }
        paths.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        Hints { paths, overflow: taken.overflow, root: taken.root, blind: taken.blind }
    }

    /// Drops what was hinted below a directory whose own hint covers it all. So the deletion of a
    /// tree, which goes from the bottom up, ends as one hint; and no directory stays collapsed whose
    /// hint is gone. Gives back the first time among them and `at`.
    fn forget_below(&mut self, dir: &RepoPath, at: Moment) -> Moment {
        let Some(entry) = self.dirs.remove(dir) else { return at };
        self.len -= entry.children.len() + 1;
        entry.children.into_iter().fold(at, |at, (name, noted)| {
            let at = at.or_older(noted.first);
            if noted.kind.is_file() { at } else { self.forget_below(&dir.join(&name), at) }
        })
    }

    /// The root's own hint covers everything.
    fn is_flooded(&self) -> bool {
        self.root_dir.is_some_and(|noted| noted.kind == HintKind::TreeDirty)
    }

    /// Puts one hint about a directory in the place of those about its children.
    fn collapse(&mut self, dir: &RepoPath, at: Moment) {
        let files_only = self
            .dirs
            .get(dir)
            .is_none_or(|entry| entry.children.values().all(|noted| noted.kind.is_file()));
        let kind = if files_only { HintKind::DirDirty } else { HintKind::TreeDirty };
        let first = self.forget_below(dir, at);
        self.dirs.insert(dir.clone(), Dir { collapsed: Some(kind), ..Dir::default() });
        self.len += 1;
        self.note_path(dir, kind, first);
    }

    /// Puts one hint about the root in the place of everything.
    fn flood(&mut self, at: Moment) {
        let held = self.dirs.values().flat_map(|dir| dir.children.values()).chain(&self.root_dir);
        let first = oldest(held).map_or(at, |first| first.or_older(at));
        self.dirs = FxHashMap::default();
        self.len = 0;
        self.root_dir = Some(Noted { kind: HintKind::TreeDirty, first });
    }
}

fn oldest<'a>(noted: impl Iterator<Item = &'a Noted>) -> Option<Moment> {
    noted.map(|noted| noted.first).min_by_key(|first| first.instant)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { queue_paths_max: 24, dir_paths_max: 4 };

    #[test]
    fn hints_about_one_path_become_one_that_covers_both() {
        use HintKind::{
            Closed, DirAppeared, DirDirty, DirGone, DirTouched, Gone, MovedIn, Touched, TreeDirty,
        };
        for (earlier, later, both) in [
            (Touched, Closed, Closed),
            (Closed, Touched, Touched),
            (Closed, Gone, Gone),
            (Gone, MovedIn, MovedIn),
            (DirTouched, DirDirty, DirDirty),
            (DirAppeared, DirTouched, DirAppeared),
            (DirTouched, DirGone, DirGone),
            (DirGone, DirAppeared, TreeDirty),
            (DirAppeared, DirGone, TreeDirty),
            (DirGone, Touched, TreeDirty),
            (Gone, DirAppeared, TreeDirty),
            (TreeDirty, Closed, TreeDirty),
        ] {
            assert_eq!(earlier.then(later), both, "{earlier:?} then {later:?}");
        }
    }

    #[test]
    fn a_directory_of_files_collapses_to_itself_and_keeps_the_first_time() {
        let mut pending = Pending::new(LIMITS);
        let dir = path("a/b");
        for at in 0..9 {
            pending.note(&dir, format!("f{at}").as_bytes(), HintKind::Touched, moment(at));
        }
        let hints = pending.take();
        let [hint] = &hints.paths[..] else { panic!("one hint: {hints:?}") };
        assert_eq!((&hint.path, hint.kind, hint.seen), (&dir, HintKind::DirDirty, moment(0).wall));
        assert!(pending.is_empty() && pending.take().paths.is_empty());
    }

    #[test]
    fn a_subdirectory_among_too_many_children_dirties_the_tree() {
        for at_end in [false, true] {
            let mut pending = Pending::new(LIMITS);
            let mut note = |name: &[u8], kind| pending.note(&path("a"), name, kind, moment(0));
            let mut kinds = [HintKind::Closed; 7];
            kinds[if at_end { 6 } else { 0 }] = HintKind::DirAppeared;
            for (at, kind) in kinds.into_iter().enumerate() {
                note(format!("{at}").as_bytes(), kind);
            }
            let kinds: Vec<_> = pending.take().paths.iter().map(|hint| hint.kind).collect();
            assert_eq!(kinds, [HintKind::TreeDirty], "{at_end}");
        }
    }

    #[test]
    fn the_deletion_of_a_tree_is_one_hint() {
        let mut pending = Pending::new(LIMITS);
        for (at, (text, kind)) in [
            ("a/b/c/f", HintKind::Gone),
            ("a/b/c", HintKind::DirGone),
            ("a/b/f", HintKind::Gone),
            ("a/b", HintKind::DirGone),
            ("a/f", HintKind::Gone),
            ("a", HintKind::DirGone),
        ]
        .into_iter()
        .enumerate()
        {
            pending.note_path(&path(text), kind, moment(at as u64));
        }
        let hints = pending.take().paths;
        let [hint] = &hints[..] else { panic!("one hint: {hints:?}") };
        assert_eq!((&hint.path, hint.kind), (&path("a"), HintKind::DirGone));
        assert_eq!(hint.seen, moment(0).wall, "as old as the first that it covers");
    }

    proptest! {
        /// Whatever comes in, in whatever order: the set stays within its bound, and each event is
        /// covered by a hint about its path, its directory, or a tree that holds it, no younger than
        /// the event.
        #[test]
        fn every_event_is_covered_and_the_set_is_bounded(
            events in proptest::collection::vec((dir(), name(), kind()), 0..200),
        ) {
            let mut pending = Pending::new(LIMITS);
            let mut all = Vec::new();
            for (at, (dir, name, kind)) in events.into_iter().enumerate() {
                let at = moment(at as u64);
                pending.note(&dir, name, kind, at);
                prop_assert!(pending.len() <= LIMITS.queue_paths_max + 2);
                all.push((dir.join(name), kind, at));
            }
            let hints = pending.take().paths;
            prop_assert!(hints.is_sorted_by(|one, next| one.path < next.path), "each path once");
            for (nth, (path, kind, at)) in all.iter().enumerate() {
                let went_later = |dir: &RepoPath| {
                    all[nth..].iter().any(|(path, kind, _)| path == dir && *kind == HintKind::DirGone)
                };
                let covered = hints.iter().any(|hint| {
                    let young = hint.first > at.instant || hint.seen > at.wall;
                    !young && covers(hint, path, *kind, &went_later)
                });
                prop_assert!(covered, "{path:?} {kind:?} by {hints:?}");
            }
        }
    }

    fn covers(
        hint: &Hint,
        path: &RepoPath,
        kind: HintKind,
        went_later: &impl Fn(&RepoPath) -> bool,
    ) -> bool {
        let speaks_of_it = hint.path == *path && (hint.kind.is_file() || !kind.is_file());
        match hint.kind {
            HintKind::TreeDirty | HintKind::DirAppeared => path.is_within(&hint.path),
            HintKind::DirDirty if kind.is_file() => path.parent().as_ref() == Some(&hint.path),
            HintKind::DirGone => {
                speaks_of_it || (path.is_within(&hint.path) && went_later(&hint.path))
            }
            _ => speaks_of_it,
        }
    }

    fn dir() -> impl Strategy<Value = RepoPath> {
        prop::sample::select(&["", "a", "a/b", "a/b/c", "a/c", "b", "b/b"][..]).prop_map(path)
    }

    fn name() -> impl Strategy<Value = &'static [u8]> {
        prop::sample::select(vec![&b"a"[..], b"b", b"c", b"d", b"e", b"f"])
    }

    fn kind() -> impl Strategy<Value = HintKind> {
        use HintKind::{Closed, DirAppeared, DirGone, DirTouched, Gone, Touched};
        prop::sample::select(
            &[Touched, Touched, Closed, Gone, DirAppeared, DirGone, DirTouched][..],
        )
    }

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text.as_bytes()).expect("well-formed")
    }

    fn moment(at: u64) -> Moment {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        Moment {
            instant: *START + Duration::from_millis(at),
            wall: Timestamp::from_nanos(at as i64 * 1_000_000),
        }
    }
}
