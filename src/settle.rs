//! Settling: decides when a path has been quiet long enough to be hashed.
//!
//! Pure: `push` takes a hint, `due` gives what is to be looked at now, `next_deadline` says when to
//! ask again; the clock is the caller's. A path is due when quiet for `settle` (or
//! `settle_after_close` after its writer closed it), or when its first hint is older than
//! `settle_max`, so a file written forever is looked at all the same. A deletion waits for the
//! creations it may be one half of, and goes with them.
//!
//! Promises: nothing pushed is lost; nothing waits longer than `settle_max`; no more than
//! `paths_max` things are held. Above `dir_paths_max` children, a directory stands for all its
//! entries, and above `paths_max` the root stands for everything: less is known then, nothing is
//! missed.

use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::model::path::RepoPath;
use crate::runtime::time::Timestamp;

/// How long to wait and how much to hold.
#[derive(Clone, Debug)]
pub struct Config {
    /// A path is due when it has been quiet for this long.
    pub settle: Duration,
    /// The same after a close of a written file or a move into place: its content is complete.
    pub settle_after_close: Duration,
    /// Nothing waits longer than this from its first hint.
    pub settle_max: Duration,
    /// What falls due within this goes along, so that a move's halves come in one batch.
    pub together: Duration,
    /// Above this, the root stands for everything.
    pub paths_max: usize,
    /// Above this, a directory stands for its entries.
    pub dir_paths_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(250),
            settle_after_close: Duration::from_millis(50),
            settle_max: Duration::from_secs(5),
            together: Duration::from_millis(5),
            paths_max: 65_536,
            dir_paths_max: 1_024,
        }
    }
}

/// What a hint says of how complete the change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Urgency {
    /// It may go on: written to, created, attributes changed.
    Quiet,
    /// It is complete: closed after writing, or moved into place.
    Closed,
    /// The path is gone: deleted or moved away.
    Gone,
}

/// What is to be looked at now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Single paths, each with the time of its first hint.
    pub paths: Vec<(RepoPath, Timestamp)>,
    /// Directories whose own entries are all to be compared with the disk; those below them are
    /// not meant.
    pub dirs: Vec<(RepoPath, Timestamp)>,
    /// The whole repo is to be compared with the disk.
    pub everything: Option<Timestamp>,
}

impl Due {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.dirs.is_empty() && self.everything.is_none()
    }
}

/// The paths that are waiting to be quiet.
#[derive(Debug)]
pub struct Settle {
    config: Config,
    waits: FxHashMap<Target, Wait>,
    /// How many entries of a directory are waiting by themselves.
    entries: FxHashMap<RepoPath, usize>,
    /// Set when the root stands for everything; then nothing else is held.
    everything: Option<Wait>,
    /// Every wait but the root's, by deadline.
    queue: BTreeSet<(Instant, Target)>,
    /// The waits of deleted paths, by when they may go along with creations.
    gone: BTreeSet<(Instant, Target)>,
}

/// What a wait is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Target {
    Path(RepoPath),
    /// A directory that stands for its entries.
    Entries(RepoPath),
}

/// One wait.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// When the first hint came, by the clock and on the wall.
    first: Instant,
    seen: Timestamp,
    /// When the newest hint came.
    last: Instant,
    urgency: Urgency,
}

impl Wait {
    fn new(hint: Hint) -> Self {
        Self { first: hint.now, seen: hint.seen, last: hint.now, urgency: hint.urgency }
    }

    fn renewed(mut self, hint: Hint) -> Self {
        self.renew(hint);
        self
    }

    /// Takes another hint in. One that comes late (from another thread) never shortens the wait.
    fn renew(&mut self, hint: Hint) {
        self.last = self.last.max(hint.now);
        self.urgency = hint.urgency;
    }

    /// Takes in another wait that it now stands for.
    fn absorb(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.seen = self.seen.min(other.seen);
        self.last = self.last.max(other.last);
    }

    fn deadline(&self, config: &Config) -> Instant {
        let quiet = match self.urgency {
            Urgency::Quiet | Urgency::Gone => config.settle,
            Urgency::Closed => config.settle_after_close,
        };
        after(self.last, quiet).min(after(self.first, config.settle_max))
    }

    /// When a deletion may go along with creations. Not at once: a path replaced by unlink and
    /// create would be recorded as deleted in between.
    fn ready(&self, config: &Config) -> Instant {
        after(self.last, config.settle_after_close).min(self.deadline(config))
    }
}

/// One hint.
#[derive(Clone, Copy, Debug)]
struct Hint {
    urgency: Urgency,
    seen: Timestamp,
    now: Instant,
}

impl Settle {
    /// Makes an empty one.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            waits: FxHashMap::default(),
            entries: FxHashMap::default(),
            everything: None,
            queue: BTreeSet::new(),
            gone: BTreeSet::new(),
        }
    }

    /// Whether this very path is waiting.
    pub fn holds(&self, path: &RepoPath) -> bool {
        self.waits.contains_key(&Target::Path(path.clone()))
    }

    /// Changes how long a path has to be quiet, also for what is held already.
    pub fn set_settle(&mut self, settle: Duration) {
        let waits: Vec<_> = self.waits.drain().collect();
        self.entries.clear();
        self.queue.clear();
        self.gone.clear();
        self.config.settle = settle;
        for (target, wait) in waits {
            self.insert(target, wait);
        }
    }

    /// Takes a hint about one path. `seen` is the wall clock's word for `now`.
    pub fn push(&mut self, path: &RepoPath, urgency: Urgency, seen: Timestamp, now: Instant) {
        let Some(dir) = path.parent() else { return self.push_everything(seen, now) };
        let whole = Target::Entries(dir);
        if self.everything.is_some() || self.waits.contains_key(&whole) {
            return self.renew(whole, Hint { urgency: Urgency::Quiet, seen, now });
        }
        self.renew(Target::Path(path.clone()), Hint { urgency, seen, now });
        let Target::Entries(dir) = whole else { return };
        if self.entries.get(&dir).is_some_and(|&count| count > self.config.dir_paths_max) {
            self.push_dir(&dir, seen, now);
        }
    }

    /// Takes a hint that something among the entries of `dir` changed.
    pub fn push_dir(&mut self, dir: &RepoPath, seen: Timestamp, now: Instant) {
        let hint = Hint { urgency: Urgency::Quiet, seen, now };
        let whole = Target::Entries(dir.clone());
        if self.entries.contains_key(dir) {
            let entries = self.waits.keys().filter(|target| target.is_entry_of(dir));
            let entries: Vec<_> = entries.cloned().collect();
            let mut wait = Wait::new(hint);
            let held = entries.iter().filter_map(|target| self.remove(target));
            held.for_each(|held| wait.absorb(held));
            self.insert(whole, wait);
        } else {
            self.renew(whole, hint);
        }
    }

    /// Takes a hint that something somewhere changed.
    pub fn push_everything(&mut self, seen: Timestamp, now: Instant) {
        let mut wait = Wait::new(Hint { urgency: Urgency::Quiet, seen, now });
        self.waits.drain().for_each(|(_, held)| wait.absorb(held));
        self.everything.into_iter().for_each(|held| wait.absorb(held));
        // Fresh collections, not cleared ones: a storm's memory is given back.
        *self = Self { everything: Some(wait), ..Self::new(self.config.clone()) };
    }

    /// Takes out what is due, in the order of deadlines.
    pub fn due(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        if self.next_deadline().is_none_or(|deadline| deadline > now) {
            return due;
        }
        due.everything = self.everything.take().map(|wait| wait.seen);
        let horizon = after(now, self.config.together);
        let mut with_creation = false;
        while let Some(target) = first_until(&self.queue, horizon) {
            with_creation |= self.release(target, &mut due) != Urgency::Gone;
        }
        while with_creation && let Some(target) = first_until(&self.gone, horizon) {
            self.release(target, &mut due);
        }
        due
    }

    /// When to ask [`due`](Self::due) again; `None` while nothing is held.
    pub fn next_deadline(&self) -> Option<Instant> {
        let root = self.everything.map(|wait| wait.deadline(&self.config));
        root.or_else(|| self.queue.first().map(|(deadline, _)| *deadline))
    }

    /// How many paths and directories are held.
    pub fn len(&self) -> usize {
        self.waits.len() + usize::from(self.everything.is_some())
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a hint into the wait it belongs to, made where there is none yet.
    fn renew(&mut self, target: Target, hint: Hint) {
        if let Some(wait) = &mut self.everything {
            return wait.renew(hint);
        }
        let wait = match self.remove(&target) {
            Some(held) => held.renewed(hint),
            None => Wait::new(hint),
        };
        self.insert(target, wait);
        if self.len() > self.config.paths_max {
            self.push_everything(hint.seen, hint.now);
        }
    }

    /// Moves one wait from what is held to what is due.
    fn release(&mut self, target: Target, due: &mut Due) -> Urgency {
        let wait = self.remove(&target).expect("what is queued is held");
        match target {
            Target::Path(path) => due.paths.push((path, wait.seen)),
            Target::Entries(dir) => due.dirs.push((dir, wait.seen)),
        }
        wait.urgency
    }

    fn insert(&mut self, target: Target, wait: Wait) {
        if let Some(dir) = target.counted_in() {
            *self.entries.entry(dir).or_default() += 1;
        }
        if wait.urgency == Urgency::Gone {
            self.gone.insert((wait.ready(&self.config), target.clone()));
        }
        self.queue.insert((wait.deadline(&self.config), target.clone()));
        self.waits.insert(target, wait);
    }

    /// The inverse of [`insert`](Self::insert).
    fn remove(&mut self, target: &Target) -> Option<Wait> {
        let wait = self.waits.remove(target)?;
        self.queue.remove(&(wait.deadline(&self.config), target.clone()));
        if wait.urgency == Urgency::Gone {
            self.gone.remove(&(wait.ready(&self.config), target.clone()));
        }
        if let Some(dir) = target.counted_in()
            && let Entry::Occupied(mut count) = self.entries.entry(dir)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(wait)
    }
}

impl Target {
    /// The directory whose entry this is, of a path that waits by itself.
    fn counted_in(&self) -> Option<RepoPath> {
        match self {
            Self::Path(path) => path.parent(),
            Self::Entries(_) => None,
        }
    }

    fn is_entry_of(&self, dir: &RepoPath) -> bool {
        match self {
            Self::Path(path) => {
                let slash = usize::from(!dir.is_root());
                path.is_within(dir)
                    && path.as_bytes().len() == dir.as_bytes().len() + slash + path.name().len()
            }
            Self::Entries(_) => false,
        }
    }
}

/// The first of a queue, when its time comes by `horizon`.
fn first_until(queue: &BTreeSet<(Instant, Target)>, horizon: Instant) -> Option<Target> {
    queue.first().filter(|(at, _)| *at <= horizon).map(|(_, target)| target.clone())
}

/// `at` plus a duration of any size: what lies beyond the end of the clock is a hundred years away.
fn after(at: Instant, wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);
    at.checked_add(wait).unwrap_or_else(|| at + CENTURY)
}
