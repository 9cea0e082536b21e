//! Paths to be examined again: soon, because the clock could not tell their change from the read,
//! or with backoff, because they kept changing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::model::path::RepoPath;
use crate::scan::examine::Candidate;

/// Longer than the coarse clock's tick on any kernel that we know (100 Hz).
const SOON: Duration = Duration::from_millis(11);

/// The first and the last wait for a file that keeps changing; doubled in between.
const UNSTABLE_FIRST: Duration = Duration::from_secs(1);
const UNSTABLE_LAST: Duration = Duration::from_mins(5);

/// Paths to be examined again.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// By deadline; the number keeps those of one instant apart.
    waiting: BTreeMap<(Instant, u64), (Candidate, Why)>,
    next_number: u64,
    /// How often each unstable path has been tried.
    attempts: FxHashMap<RepoPath, u32>,
    soon: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Fresh,
    Unstable,
}

impl Retries {
    /// Examines the path again once the clock can tell.
    pub(super) fn soon(&mut self, candidate: Candidate, now: Instant) {
        self.soon += 1;
        self.insert(now + SOON, candidate, Why::Fresh);
    }

    /// Examines the path again after a wait that doubles each time, until it is
    /// [`settled`](Self::settled).
    pub(super) fn later(&mut self, candidate: Candidate, now: Instant) {
        let attempt = self.attempts.entry(candidate.path.clone()).or_default();
        let wait = UNSTABLE_FIRST.saturating_mul(1 << (*attempt).min(16)).min(UNSTABLE_LAST);
        *attempt += 1;
        self.insert(now + wait, candidate, Why::Unstable);
    }

    /// Notes that a path was read in one consistent version, or is gone.
    pub(super) fn settled(&mut self, path: &RepoPath) {
        if !self.attempts.is_empty() {
            self.attempts.remove(path);
        }
    }

    /// Takes what is due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Candidate> {
        let later = self.waiting.split_off(&(now + Duration::from_nanos(1), 0));
        let due = std::mem::replace(&mut self.waiting, later);
        self.soon -= due.values().filter(|(_, why)| *why == Why::Fresh).count();
        due.into_values().map(|(candidate, _)| candidate).collect()
    }

    /// When the next is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Whether any path only waits for the clock.
    pub(super) fn any_soon(&self) -> bool {
        self.soon > 0
    }

    /// How many paths wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn insert(&mut self, deadline: Instant, candidate: Candidate, why: Why) {
        self.next_number += 1;
        self.waiting.insert((deadline, self.next_number), (candidate, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::time::Timestamp;

    fn candidate(path: &str) -> Candidate {
        Candidate {
            path: RepoPath::new(path.as_bytes()).expect("a path"),
            seen: Timestamp::from_nanos(0),
            stat: None,
            held: false,
        }
    }

    #[test]
    fn an_unstable_path_is_tried_with_growing_waits_until_it_settles() {
        let start = Instant::now();
        let mut retries = Retries::default();
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            retries.later(candidate("a"), start);
            let due = start + Duration::from_secs(wait);
            assert_eq!(retries.next_deadline(), Some(due));
            assert!(retries.due(start).is_empty());
            assert_eq!(retries.due(due).len(), 1);
        }
        retries.settled(&candidate("a").path);
        retries.later(candidate("a"), start);
        assert_eq!(retries.next_deadline(), Some(start + Duration::from_secs(1)));
        assert!(!retries.any_soon());
    }

    #[test]
    fn a_fresh_path_counts_until_it_is_taken() {
        let start = Instant::now();
        let mut retries = Retries::default();
        retries.soon(candidate("a"), start);
        retries.soon(candidate("b"), start);
        assert!(retries.any_soon());
        assert_eq!(retries.due(start + SOON).len(), 2);
        assert!(!retries.any_soon());
    }
}
