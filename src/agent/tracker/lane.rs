//! The lane for large files: they are read beside the tracker, so that none delays the others.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustc_hash::FxHashMap;

use super::Parts;
use crate::hash::Outcome;
use crate::model::path::RepoPath;
use crate::runtime::rooted::Root;
use crate::scan::examine::Candidate;

/// From this size on a file takes the lane: below it, reading takes a few milliseconds.
pub(super) const LARGE_BYTES: u64 = 16 << 20;

/// Files that are read at a time; each may use the whole pool.
const READING_MAX: usize = 2;

/// A large file that has been read.
pub(super) struct Finished {
    /// The file.
    pub(super) candidate: Candidate,
    /// What became of it.
    pub(super) outcome: Outcome,
}

/// Large files, being read or about to be.
pub(super) struct Lane {
    waiting: VecDeque<Candidate>,
    /// The paths being read, and the newer candidate if a hint came meanwhile.
    reading: FxHashMap<RepoPath, Option<Candidate>>,
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
                || self.waiting.iter().any(|waiting| waiting.path == *path))
    }

    /// Takes a file, or notes that one in the lane must be read again.
    pub(super) fn push(&mut self, candidate: Candidate) {
        if let Some(again) = self.reading.get_mut(&candidate.path) {
            again.get_or_insert(candidate);
        } else if !self.waiting.iter().any(|waiting| waiting.path == candidate.path) {
            self.waiting.push_back(candidate);
        }
    }

    /// Starts reading as many as may be read at a time.
    pub(super) fn start(&mut self, parts: &Parts, root: &Arc<Root>) {
        while self.reading.len() < READING_MAX
            && let Some(candidate) = self.waiting.pop_front()
        {
            self.reading.insert(candidate.path.clone(), None);
            let (root, hasher) = (Arc::clone(root), parts.hasher.clone());
            let (stop, sender) = (Arc::clone(&parts.stop), self.sender.clone());
            parts.hasher.pool().spawn(move || {
                let outcome = hasher.digest(&root, &candidate.path, &stop);
                // A tracker that has ended needs no outcome: the index still differs.
                let _ = sender.send(Finished { candidate, outcome });
            });
        }
    }

    /// Where finished files arrive.
    pub(super) fn finished(&self) -> &Receiver<Finished> {
        &self.finished
    }

    /// Lets go of a finished path; gives back the newer candidate if it must be read again.
    pub(super) fn release(&mut self, path: &RepoPath) -> Option<Candidate> {
        self.reading.remove(path).flatten()
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
