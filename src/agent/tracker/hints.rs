//! Hints: takes what the watch has noticed and sends each on its way: to settle, to be armed at once,
//! or to be repaired.

use std::collections::BTreeSet;
use std::time::Instant;

use rustc_hash::FxHashSet;

use super::Tracker;
use super::due::Hinted;
use super::walks::candidate;
use crate::agent::coverage::Cause;
use crate::model::path::RepoPath;
use crate::runtime::time::Timestamp;
use crate::scan::walk::Difference;
use crate::settle::Urgency;
use crate::spool::SpoolError;
use crate::watch::{Hint, HintKind, Hints, Overflow};

impl Tracker {
    /// Takes what the watch has noticed since it was last asked.
    pub(super) fn take_hints(&mut self) -> Result<(), SpoolError> {
        let Some(sight) = &self.sight else {
            self.look_for_root();
            return Ok(());
        };
        let Hints { paths, overflow, root, blind } = sight.watch.take();
        if let Some(error) = blind {
            self.go_blind(&error);
        }
        if let Some(presence) = self.root_went.take() {
            self.renew_root(presence);
        } else if let Some(hint) = root {
            self.root_hinted(hint);
        }
        if let Some(overflow) = overflow {
            self.lose_events(overflow);
        }
        self.sort_hints(paths)
    }

    fn lose_events(&mut self, overflow: Overflow) {
        self.tally.overflows += overflow.count;
        let reason = "the kernel dropped events; everything is being compared with the disk";
        let opened = self.gaps.open(Cause::Overflow, overflow.since, reason.to_owned());
        self.gaps.overflowed(Instant::now());
        self.append_gap(opened);
    }

    /// The reader failed: everything is armed and compared again by a new one.
    fn go_blind(&mut self, error: &std::io::Error) {
        tracing::warn!(repo = self.parts.config.name, %error, "event reader failed, starting anew");
        let now = self.parts.clock.now();
        self.lose_events(Overflow { since: now, seen: now, count: 1 });
    }

    fn sort_hints(&mut self, hints: Vec<Hint>) -> Result<(), SpoolError> {
        let now = Instant::now();
        let mut appeared = BTreeSet::new();
        let mut went = Vec::new();
        for Hint { path, kind, seen, first: _ } in hints {
            match kind {
                HintKind::Touched => self.settle.push(&path, Urgency::Quiet, seen, now),
                HintKind::Closed | HintKind::MovedIn => {
                    self.settle.push(&path, Urgency::Closed, seen, now);
                }
                HintKind::Gone | HintKind::DirGone => {
                    self.settle.push(&path, Urgency::Gone, seen, now);
                    went.push((path, seen));
                }
                HintKind::DirAppeared => drop(appeared.insert(path)),
                HintKind::DirTouched | HintKind::DirDirty => self.walks.add_subtrees([path]),
                HintKind::TreeDirty => {
                    self.settle.push(&path, Urgency::Closed, seen, now);
                    appeared.insert(path);
                }
            }
        }
        self.adopt_directories(appeared, went, now)
    }

    /// Arms directories that appeared, before anything else is done: until then nothing that happens
    /// in them is seen. What they hold is examined at once, unless it is so young that more is to be
    /// expected. If they were moved here, what went elsewhere in the same breath is the other half.
    fn adopt_directories(
        &mut self,
        appeared: BTreeSet<RepoPath>,
        went: Vec<Hinted>,
        now: Instant,
    ) -> Result<(), SpoolError> {
        let visible = self.visible_directories(appeared);
        if visible.is_empty() {
            return Ok(());
        }
        let (differences, replaced) = self.walk_now(visible)?;
        for (path, seen) in replaced {
            // It may have been moved: it waits as long as the hint of its new name, and no longer.
            if !self.settle.holds(&path) {
                self.settle.push(&path, Urgency::Gone, seen, now);
            }
        }
        let seen = self.parts.clock.now();
        let moved = self.take_moved(&differences, went, seen)?;
        for difference in differences {
            if !moved.contains(&difference.path) {
                self.take_difference(difference, seen);
            }
        }
        Ok(())
    }

    fn visible_directories(&self, appeared: BTreeSet<RepoPath>) -> BTreeSet<RepoPath> {
        let Some(sight) = &self.sight else { return BTreeSet::new() };
        appeared.into_iter().filter(|path| sight.filter.ignored(path, true).is_visible()).collect()
    }

    /// Examines at once the differences that are files which went in the same breath, so that they
    /// become renames. Gives back their paths.
    fn take_moved(
        &mut self,
        differences: &[Difference],
        went: Vec<Hinted>,
        seen: Timestamp,
    ) -> Result<FxHashSet<RepoPath>, SpoolError> {
        if differences.is_empty() || went.is_empty() {
            return Ok(FxHashSet::default());
        }
        let gone = self.truly_gone(went);
        let mut gone = self.rows_of(gone)?;
        let inodes: FxHashSet<u64> = differences.iter().map(|new| new.stat.ino).collect();
        gone.retain(|old| old.row.mark.is_some_and(|mark| inodes.contains(&mark.ino)));
        let went: FxHashSet<u64> = gone.iter().filter_map(|old| Some(old.row.mark?.ino)).collect();
        let mut candidates: Vec<_> = differences
            .iter()
            .filter(|new| went.contains(&new.stat.ino))
            .map(|new| candidate(new.clone(), seen))
            .collect();
        self.mark_held(&mut candidates)?;
        let moved = candidates.iter().map(|candidate| candidate.path.clone()).collect();
        if !candidates.is_empty() {
            self.examine_moves(gone, candidates);
        }
        Ok(moved)
    }

    fn truly_gone(&self, went: Vec<Hinted>) -> Vec<Hinted> {
        let Some(sight) = &self.sight else { return Vec::new() };
        went.into_iter()
            .filter(|(path, _)| {
                let look = sight.root.stat(path.as_bytes());
                look.is_err_and(|error| crate::runtime::rooted::is_absent(&error))
            })
            .collect()
    }
}
