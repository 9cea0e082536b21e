//! Work: examines differences a chunk at a time and hands what was observed to the spool.

use std::time::Instant;

use rustc_hash::FxHashSet;

use super::Tracker;
use super::inbox::Command;
use super::lane::{Finished, Job, LARGE_BYTES};
use crate::model::change::{Observation, What};
use crate::model::path::RepoPath;
use crate::model::stamp::{Detail, Kind};
use crate::runtime::rooted::{FileKind, Presence, is_absent};
use crate::scan::examine::{self, Candidate, Examined, Gone};
use crate::spool::SpoolError;

/// One chunk ends at this many files or bytes, whichever comes first: then hints are looked at.
const CHUNK_FILES: usize = 2_048;
const CHUNK_BYTES: u64 = 64 << 20;

impl Tracker {
    /// Takes commands and files that the lane has finished.
    pub(super) fn take_messages(&mut self) -> Result<(), SpoolError> {
        while let Ok(finished) = self.lane.finished().try_recv() {
            self.take_finished(finished)?;
        }
        while !self.stopping
            && let Some(command) = self.inbox.try_command()
        {
            match command {
                Command::Scan(waiter) => self.scan_for(waiter),
                Command::Reload => self.reread_repo()?,
                Command::Pause => self.pause(),
                Command::Resume => self.resume(),
                Command::Stop => self.stopping = true,
            }
        }
        Ok(())
    }

    /// Examines the next chunk of the queue. `false` when there is none.
    pub(super) fn examine_next(&mut self) -> bool {
        let chunk = self.next_chunk();
        let found = !chunk.is_empty();
        self.examine(Vec::new(), chunk);
        found
    }

    /// The next files of the queue; large ones go to the lane.
    pub(super) fn next_chunk(&mut self) -> Vec<Candidate> {
        let mut bytes = 0;
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK_FILES && bytes < CHUNK_BYTES {
            let Some(candidate) = self.queue.pop_front() else { break };
            if self.takes_lane(&candidate) {
                self.lane.push(Job { candidate, left: None });
            } else {
                bytes += candidate.size();
                chunk.push(candidate);
            }
        }
        self.start_lane();
        chunk
    }

    fn takes_lane(&self, candidate: &Candidate) -> bool {
        candidate.size() >= LARGE_BYTES || self.lane.has(&candidate.path)
    }

    /// Examines a batch in which paths went. A large file takes the lane, and with it goes the path
    /// that it may have been moved from, so that it becomes a rename when it has been read.
    pub(super) fn examine_moves(&mut self, mut gone: Vec<Gone>, candidates: Vec<Candidate>) {
        gone.retain(|old| !self.lane.has_left(&old.path));
        let mut small = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            if !self.takes_lane(&candidate) {
                small.push(candidate);
                continue;
            }
            let left = gone.iter().position(|old| old.may_be(&candidate));
            self.lane.push(Job { candidate, left: left.map(|index| gone.remove(index)) });
        }
        self.start_lane();
        self.examine(gone, small);
    }

    /// Examines a whole batch at once, so that renames in it are recognised.
    pub(super) fn examine(&mut self, gone: Vec<Gone>, candidates: Vec<Candidate>) {
        let Some(sight) = &self.sight else { return };
        let examined = self.parts.reading(&sight.root).examine(gone, candidates);
        self.take_in(examined);
    }

    pub(super) fn take_in(&mut self, examined: Examined) {
        if self.root_is_gone(&examined.observations) {
            return;
        }
        let now = Instant::now();
        let unsettled: FxHashSet<RepoPath> =
            examined.later.iter().map(|candidate| candidate.path.clone()).collect();
        for observation in &examined.observations {
            if !unsettled.contains(&observation.path) {
                self.retries.settled(&observation.path);
            }
        }
        for candidate in examined.again {
            self.retries.soon(candidate, now);
        }
        for candidate in examined.later {
            self.retries.later(candidate, now);
        }
        self.walks.add_subtrees(examined.directories);
        self.tally.observed(&examined.observations);
        self.append(examined.observations);
    }

    /// Whether paths seem gone because the root is. Every path below a root that was removed answers
    /// like a deleted one, and the event that tells of the root may come later than theirs: so the
    /// root is looked at after its paths were, and before anything is said of them.
    fn root_is_gone(&mut self, observations: &[Observation]) -> bool {
        let Some(sight) = &self.sight else { return false };
        if !observations.iter().any(|observation| matches!(observation.what, What::Gone)) {
            return false;
        }
        let presence = sight.root.presence();
        if presence == Presence::Same {
            return false;
        }
        self.root_went = Some(presence);
        true
    }

    fn take_finished(&mut self, finished: Finished) -> Result<(), SpoolError> {
        let Finished { path, outcome } = finished;
        let Some(Job { candidate, left }) = self.lane.release(&path) else { return Ok(()) };
        self.start_lane();
        let gone = match left {
            Some(old) if self.is_still_gone(&old)? => Some(old),
            _ => None,
        };
        self.take_in(examine::judge(gone, candidate, outcome));
        Ok(())
    }

    /// Whether a path that went is as it was then. While a large file was read, another may have come
    /// to the place that it left, and is told of by hints of its own.
    fn is_still_gone(&mut self, old: &Gone) -> Result<bool, SpoolError> {
        self.await_durable()?;
        let Some(sight) = &self.sight else { return Ok(false) };
        let is_free = match sight.root.stat(old.path.as_bytes()) {
            Ok(stat) => stat.kind == FileKind::Dir,
            Err(error) => is_absent(&error),
        };
        let row = self.parts.reader.row(self.parts.repo.id(), &old.path)?;
        Ok(is_free && row.as_ref() == Some(&old.row))
    }

    fn start_lane(&mut self) {
        if let Some(sight) = &self.sight {
            self.lane.start(&self.parts, &sight.root);
        }
    }

    /// Hands observations to the spool; waits only while its queue is full.
    pub(super) fn append(&mut self, observations: Vec<Observation>) {
        if !observations.is_empty() {
            self.unconfirmed += observations.len() as u64;
            self.receipts.push(self.parts.repo.append(observations));
        }
    }

    /// Records something of the stream's own life.
    pub(super) fn append_life(&mut self, kind: Kind, detail: Detail) {
        let seen = self.parts.clock.now();
        self.receipts.push(self.parts.repo.life(kind, detail, seen));
    }
}
