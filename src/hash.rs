//! Hashing: the digest of one consistent version of a file, or the reason why there is none.
//!
//! Promises: a digest is that of bytes which all were the file's at one moment, as far as its ctime
//! can tell; a file that changes under the read, is truncated while it is mapped, turns into a
//! FIFO, or is full of holes costs a bounded time and never the process. Which files to hash, when
//! to ask again, and what a digest means for a stamp is left to the callers.
//!
//! `stable` frames a read, `content` and `mapped` do it, `budget` slows it down when asked to. `stream`
//! hashes what is no file of a repo.

mod budget;
mod content;
mod mapped;
mod stable;
mod stream;

use std::io;
use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use self::budget::Budget;
use self::content::Lane;
use crate::model::digest::Digest;
use crate::model::path::RepoPath;
use crate::model::stamp::SkipReason;
use crate::runtime::rooted::{Root, Stat, stat_at};

pub use self::stable::granule;

/// How files are hashed.
#[derive(Clone, Debug)]
pub struct Config {
    /// Larger files are skipped.
    pub max_file_size: u64,
    /// Files of which no more than one in so many bytes is on disk are skipped; 0 reads them all.
    pub sparse_ratio: u64,
    /// Larger files are mapped and hashed by all threads, others are read.
    pub mmap_threshold: u64,
    /// How much of a file is mapped at a time: the bound on memory.
    pub window: u64,
    /// Threads that hash.
    pub threads: usize,
    /// How often a file that changes under the read is tried before it is called unstable.
    pub attempts: u32,
    /// Bytes per second, over all threads; `None` for as fast as it goes.
    pub rate: Option<NonZero<u64>>,
    /// Whether the threads leave the processor to whoever else wants it.
    pub background: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_file_size: 4 << 30,
            sparse_ratio: 64,
            mmap_threshold: 2 << 20,
            window: 64 << 20,
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
            attempts: 3,
            rate: None,
            background: true,
        }
    }
}

/// What came of looking at a path.
#[derive(Debug)]
pub enum Outcome {
    /// The digest of one version, and the stat that framed it.
    Digest {
        /// From the descriptor that was read, after the read.
        stat: Stat,
        /// The digest.
        digest: Digest,
        /// The ctime lies in the future, so a change made since might not show: hash it once more
        /// later, and do not take it for unchanged before.
        racy: bool,
    },
    /// It changed under every attempt.
    Unstable {
        /// As it was after the last one.
        stat: Stat,
    },
    /// It was not read.
    Skipped {
        /// `None` when even that could not be asked.
        stat: Option<Stat>,
        /// Why.
        reason: SkipReason,
    },
    /// A symbolic link, not followed.
    Symlink {
        /// Of the link itself.
        stat: Stat,
        /// Its text.
        target: Vec<u8>,
    },
    /// A directory.
    Directory(Stat),
    /// The path leads to nothing now.
    Gone,
    /// It changed so recently that another change might not move its ctime: ask again after
    /// [`granule`], or two seconds where the file system counts in seconds.
    TooFresh,
    /// `stop` was set before there was an answer.
    Stopped,
    /// The machine stood in the way, not the file: out of descriptors or memory. Ask again later.
    Failed(io::Error),
}

/// Why there is no hasher.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The guard against truncation under a mapping could not be set up.
    #[error("install the guard against files truncated while they are mapped")]
    Guard(#[source] io::Error),
    /// No threads.
    #[error("start {threads} hashing threads; lower `[hash] threads` or raise the process limit")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        #[source]
        source: rayon::ThreadPoolBuildError,
    },
}

/// Hashes files. Clones share the threads and the budget.
#[derive(Clone, Debug)]
pub struct Hasher {
    shared: Arc<Shared>,
    max_file_size: u64,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    pool: rayon::ThreadPool,
    budget: Option<Budget>,
    /// Held by the one file that is mapped.
    lane: Lane,
}

impl Hasher {
    /// Starts the threads and installs the guard against truncation (once per process).
    pub fn new(config: Config) -> Result<Self, HashError> {
        mapped::install_guard().map_err(HashError::Guard)?;
        let threads = config.threads.max(1);
        let background = config.background;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("hash-{index}"))
            .start_handler(move |_| {
                if background {
                    yield_to_others();
                }
            })
            .build()
            .map_err(|source| HashError::Threads { threads, source })?;
        let budget = config.rate.map(Budget::new);
        let max_file_size = config.max_file_size;
        let shared = Arc::new(Shared { config, pool, budget, lane: Lane::default() });
        Ok(Self { shared, max_file_size })
    }

    /// The same hasher, on the same threads, with another bound on the size of files.
    pub fn limited_to(&self, max_file_size: u64) -> Self {
        Self { shared: Arc::clone(&self.shared), max_file_size }
    }

    /// The threads, for callers that have many files: inside of it a mapped file is hashed by all of
    /// them without hand-over.
    pub fn pool(&self) -> &rayon::ThreadPool {
        &self.shared.pool
    }

    /// Looks `name` up in `dir` and hashes it when it is a regular file.
    pub fn digest_at(&self, dir: BorrowedFd<'_>, name: &[u8], stop: &AtomicBool) -> Outcome {
        match stat_at(dir, name) {
            Ok(seen) => self.digest_seen(dir, name, &seen, stop),
            Err(error) => stable::refused(None, error),
        }
    }

    /// Hashes what was looked up just now: the cheapest way when the caller needed the stat anyway.
    /// That stat is the first side of the frame, so it must come from `name` in `dir`.
    pub fn digest_seen(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        seen: &Stat,
        stop: &AtomicBool,
    ) -> Outcome {
        self.shared.digest(dir, name, seen, self.max_file_size, stop)
    }

    /// Looks a path up below a root and hashes it when it is a regular file.
    pub fn digest(&self, root: &Root, path: &RepoPath, stop: &AtomicBool) -> Outcome {
        if path.is_root() {
            return match root.stat(b"") {
                Ok(stat) => Outcome::Directory(stat),
                Err(error) => stable::refused(None, error),
            };
        }
        match root.open_parent(path.as_bytes()) {
            Ok((dir, name)) => self.digest_at(dir.as_fd(), name, stop),
            Err(error) => stable::refused(None, error),
        }
    }
}

/// Lowers this thread's priority; that it may not be lowered is no reason not to hash.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, 10);
}
