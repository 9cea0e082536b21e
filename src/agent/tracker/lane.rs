//! The lane for large files: they are read beside the tracker, so that none delays the others.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustc_hash::FxHashMap;

use super::Parts;
use crate::hash::Outcome;
use crate::model::path::RepoPath;
use crate::runtime::rooted::Root;
use crate::scan::examine::{Candidate, Gone};

/// From this size on a file takes the lane: below it, reading takes a few milliseconds.
pub(super) const LARGE_BYTES: u64 = 16 << 20;

/// Files that are read at a time; each may use the whole pool.
const READING_MAX: usize = 2;

/// A large file to be read.
#[derive(Debug)]
pub(super) struct Job {
    /// The file.
    pub(super) candidate: Candidate,
    /// The path that it may have been moved from. Nothing is said of it before the file is read.
    pub(super) left: Option<Gone>,
}

impl Job {
    /// Takes in what a newer hint of the same file says.
    fn renew(&mut self, newer: Self) {
        if self.left.is_none() {
            self.left = newer.left;
        }
    }

    fn has_left(&self, path: &RepoPath) -> bool {
        self.left.as_ref().is_some_and(|old| old.path == *path)
    }
}

/// A large file that has been read.
pub(super) struct Finished {
    /// Its path.
    pub(super) path: RepoPath,
    /// What became of it.
    pub(super) outcome: Outcome,
}

/// A job that is being done.
struct Reading {
    job: Job,
    /// The next one of the same file, if a hint came meanwhile.
    again: Option<Job>,
}

impl Reading {
    fn jobs(&self) -> impl Iterator<Item = &Job> {
        std::iter::once(&self.job).chain(&self.again)
    }
}

/// Large files, being read or about to be.
pub(super) struct Lane {
    waiting: VecDeque<Job>,
    /// By path.
    reading: FxHashMap<RepoPath, Reading>,
    /// Unbounded, but holds at most as many as are being read.
    sender: Sender<Finished>,
    finished: Receiver<Finished>,
}

impl Lane {
    pub(super) fn new() -> Self {
        let (sender, finished) = unbounded();
        Self { waiting: VecDeque::new(), reading: FxHashMap::default(), sender, finished }
    }

    /// Whether the lane has this path: then it is in the lane's hands until it is finished.
    pub(super) fn has(&self, path: &RepoPath) -> bool {
        !self.is_empty()
            && (self.reading.contains_key(path)
                || self.waiting.iter().any(|waiting| waiting.candidate.path == *path))
    }

    /// Whether a file of the lane may have been moved from this path.
    pub(super) fn has_left(&self, path: &RepoPath) -> bool {
        let reading = self.reading.values().flat_map(Reading::jobs);
        reading.chain(&self.waiting).any(|job| job.has_left(path))
    }

    /// Takes a file, or notes that one in the lane must be read again.
    pub(super) fn push(&mut self, job: Job) {
        let path = &job.candidate.path;
        let waiting = match self.reading.get_mut(path) {
            Some(reading) => reading.again.as_mut(),
            None => self.waiting.iter_mut().find(|waiting| waiting.candidate.path == *path),
        };
        if let Some(waiting) = waiting {
            waiting.renew(job);
        } else if let Some(reading) = self.reading.get_mut(path) {
            reading.again = Some(job);
        } else {
            self.waiting.push_back(job);
        }
    }

    /// Starts reading as many as may be read at a time.
    pub(super) fn start(&mut self, parts: &Parts, root: &Arc<Root>) {
        while self.reading.len() < READING_MAX
            && let Some(job) = self.waiting.pop_front()
        {
            let path = job.candidate.path.clone();
            self.reading.insert(path.clone(), Reading { job, again: None });
            let (root, hasher) = (Arc::clone(root), parts.hasher.clone());
            let (stop, sender) = (Arc::clone(&parts.stop), self.sender.clone());
            parts.hasher.pool().spawn(move || {
                let outcome = hasher.digest(&root, &path, &stop);
                // A tracker that has ended needs no outcome: the index still differs.
                let _ = sender.send(Finished { path, outcome });
            });
        }
    }

    /// Where finished files arrive.
    pub(super) fn finished(&self) -> &Receiver<Finished> {
        &self.finished
    }

    /// Lets go of a finished job; a newer one of the same file waits its turn.
    pub(super) fn release(&mut self, path: &RepoPath) -> Option<Job> {
        let Reading { job, again } = self.reading.remove(path)?;
        self.waiting.extend(again);
        Some(job)
    }

    /// Whether no file is in the lane.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.reading.is_empty()
    }

    /// How many files are in the lane.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.reading.len()
    }
}
