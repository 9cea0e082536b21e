//! Watching: arms directories and turns the kernel's events into a bounded set of hints.
//!
//! Holds one [`Watch`] per repo: its watches, the thread that reads their events, and the hints that
//! nobody has taken yet. Promises: after a directory is armed, every change in it that the kernel
//! tells of is covered by a hint, or by an overflow; whoever *arms, then lists* misses nothing. An
//! idle watch wakes nobody. Hints may be late, doubled or wrong: what is true is found out on the
//! disk by whoever takes them, and what to arm is for the walk to decide.

mod arm;
mod decode;
pub mod filter;
mod hints;
pub mod limit;
mod os;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub use self::arm::{ArmTarget, Armed};
pub use self::hints::{Hint, HintKind, Hints, Overflow, RootHint};
#[cfg(target_os = "linux")]
pub use self::os::{RawEvent, Tap};

use self::arm::Table;
use self::hints::{Limits, Moment, Pending};
use crate::model::path::RepoPath;
use crate::runtime::clock::Clock;
use crate::runtime::rooted::Root;
use crate::settle;

/// How a repo is watched.
#[derive(Clone, Debug)]
pub struct Config {
    /// When a change has settled, and how much is held until then: of hints here, and of paths there.
    pub settle: settle::Config,
    /// How often the whole repo is compared with the disk, whatever the events said.
    pub audit_every: Duration,
    /// Whether directories on other file systems are left out.
    pub one_filesystem: bool,
    /// Whether git repositories inside the repo are covered too.
    pub nested: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            settle: settle::Config::default(),
            audit_every: Duration::from_mins(30),
            one_filesystem: true,
            nested: false,
        }
    }
}

/// Why a repo cannot be watched at all; it is polled then.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The user has no inotify instance left.
    #[error(
        "get an inotify instance: all that fs.inotify.max_user_instances allows are taken; stop a \
         program that watches files, or raise it: sudo sysctl fs.inotify.max_user_instances=1024"
    )]
    InstanceLimit(#[source] io::Error),
    /// Anything else.
    #[error("start watching {}", .path.display())]
    Start {
        /// The root.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is called, by the thread that reads, when there is something to take where there was nothing.
///
/// It must be quick, and must not call the watch.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// The watches of one repo and the hints they gave. Dropping it stops the reader and removes them.
pub struct Watch {
    source: os::Source,
    shared: Arc<Shared>,
}

/// How a watch is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Directories armed.
    pub directories: usize,
    /// Watches given up but not removed yet.
    pub removing: usize,
    /// Hints waiting to be taken.
    pub hints: usize,
    /// Events read since the start.
    pub events: u64,
}

impl Watch {
    /// Starts to watch where the root is; nothing below it is armed yet.
    ///
    /// `own` are our own directories, wherever they are: no event from them is ever reported.
    ///
    /// # Errors
    /// When the kernel gives no means to watch; the repo is polled then.
    pub fn open(
        config: &Config,
        root: Arc<Root>,
        own: &[PathBuf],
        clock: Clock,
        wake: Wake,
    ) -> Result<Self, WatchError> {
        let limits = Limits {
            queue_paths_max: config.settle.paths_max,
            dir_paths_max: config.settle.dir_paths_max,
        };
        let shared = Arc::new(Shared {
            excluded: own.iter().filter_map(|dir| below(root.path(), dir)).collect(),
            root,
            clock,
            wake,
            state: Mutex::new(State {
                table: Table::default(),
                pending: Pending::new(limits),
                events: 0,
            }),
        });
        let source = os::Source::open(&shared)?;
        Ok(Self { source, shared })
    }

    /// Arms directories, parents before children; each gets its verdict. To arm a directory again
    /// is always allowed, and how its path is corrected after a move.
    pub fn arm(&self, targets: &[ArmTarget<'_>]) -> Vec<Armed> {
        arm::arm(&self.shared, &self.source, targets)
    }

    /// Whether a directory is armed. It stays so until an event says that it moved or went, and that
    /// event leaves a hint; so who only compares may leave it alone, and who follows a hint may not.
    pub fn holds(&self, dir: &RepoPath) -> bool {
        self.shared.lock().table.holds(dir)
    }

    /// Gives up a directory and everything below it. Their watches are removed by and by.
    pub fn disarm(&self, dir: &RepoPath) {
        if self.shared.lock().table.detach(dir) {
            self.source.kick();
        }
    }

    /// Takes all hints there are.
    pub fn take(&self) -> Hints {
        self.shared.lock().pending.take()
    }

    /// How it is doing.
    pub fn counts(&self) -> Counts {
        let state = self.shared.lock();
        Counts {
            directories: state.table.len(),
            removing: state.table.doomed(),
            hints: state.pending.len(),
            events: state.events,
        }
    }

    /// Drops every watch and starts anew with none armed, for a repair or a root that was replaced
    /// by another directory of the same path. Hints that were not taken stay.
    ///
    /// # Errors
    /// As for [`open`](Self::open); the old watches stay then.
    pub fn reset(&self) -> Result<(), WatchError> {
        self.source.reset(&self.shared)
    }
}

/// What tests may do to a reader, to show that nothing depends on its luck.
#[cfg(target_os = "linux")]
impl Watch {
    /// Keeps the reader from reading until the guard is dropped, so that the kernel's queue fills.
    #[doc(hidden)]
    pub fn stall(&self) -> MutexGuard<'_, ()> {
        self.source.stall()
    }

    /// Lets `tap` drop, double, hold back and reorder the events of each read before they count.
    #[doc(hidden)]
    pub fn tap(&self, tap: Tap) {
        self.source.tap(tap);
    }

    /// Decodes events as if they had been read.
    #[doc(hidden)]
    pub fn feed(&self, events: &[RawEvent]) {
        self.source.feed(&self.shared, events);
    }

    /// The reader's thread, as `/proc/self/task` names it.
    #[doc(hidden)]
    pub fn reader_tid(&self) -> i32 {
        self.source.reader_tid()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Watch").field("root", &self.shared.root.path()).finish_non_exhaustive()
    }
}

/// What the reader, the arming walk and the taker of hints have in common.
struct Shared {
    root: Arc<Root>,
    /// Our own directories below the root.
    excluded: Vec<RepoPath>,
    clock: Clock,
    wake: Wake,
    state: Mutex<State>,
}

struct State {
    /// Written by arming and by the reader, which must agree on what a watch stands for.
    table: Table,
    /// Written by the reader, emptied by the taker.
    pending: Pending,
    /// Events decoded so far. Written by the reader.
    events: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the watch's state panics")
    }

    fn now(&self) -> Moment {
        Moment { instant: Instant::now(), wall: self.clock.now() }
    }

    /// Changes the state, and wakes the taker if there is something now where there was nothing.
    fn absorb<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let was_empty = state.pending.is_empty();
        let result = change(&mut state);
        let wakes = was_empty && !state.pending.is_empty();
        drop(state);
        if wakes {
            (self.wake)();
        }
        result
    }

    /// Whether a path is one of our own directories or lies in one.
    fn is_excluded(&self, path: &RepoPath) -> bool {
        self.excluded.iter().any(|own| path.is_within(own))
    }
}

/// The path of `dir` inside `root`; `None` when it is elsewhere.
fn below(root: &Path, dir: &Path) -> Option<RepoPath> {
    use std::os::unix::ffi::OsStrExt as _;
    let inside = dir.strip_prefix(root).ok()?;
    RepoPath::new(inside.as_os_str().as_bytes())
}
