//! Walks: which parts of the repo are to be compared with the disk, why, and how fast.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::due::Hinted;
use super::moved::Moved;
use super::root::Sight;
use super::{Tracker, Waiter};
use crate::model::change::State;
use crate::model::path::RepoPath;
use crate::model::stamp::SkipReason;
use crate::runtime::time::Timestamp;
use crate::scan::examine::{Candidate, Examined};
use crate::scan::walk::{Difference, Ground, Step, Totals, Walk};
use crate::settle::Urgency;
use crate::spool::SpoolError;
use crate::watch::filter::Filter;

/// An audit compares this many directories, then rests: a few percent of one core.
const AUDIT_DIRS: usize = 64;
const AUDIT_REST: Duration = Duration::from_millis(50);

/// How often directories without a watch are compared.
const POLL_EVERY: Duration = Duration::from_secs(10);

/// How often a root that is not there is looked for, beside the watch on what is above it.
const ROOT_CHECK_EVERY: Duration = Duration::from_secs(5);

/// Differences waiting to be examined beyond which a walk waits for them.
const QUEUE_MAX: usize = 16_384;

/// Why a walk is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Someone waits for it, or it is the first: what differs is examined at once.
    Compare,
    /// Events were lost.
    Repair,
    /// The schedule asks for it; nobody is in a hurry.
    Audit,
    /// A part that appeared, became visible or had more hints than could be kept.
    Subtree,
    /// Directories without a watch.
    Poll,
}

impl Purpose {
    /// Whether directories that are armed are armed again: what appeared may be another directory of
    /// the same path.
    fn arms_anew(self) -> bool {
        matches!(self, Self::Repair | Self::Subtree | Self::Poll)
    }
}

struct Running {
    walk: Walk,
    purpose: Purpose,
    moved: Moved,
    waiters: Vec<Waiter>,
    rests_until: Option<Instant>,
}

/// The walks that run or wait.
pub(super) struct Walks {
    running: Option<Running>,
    /// An audit that made way for something more urgent, and goes on after it.
    set_aside: Option<Running>,
    /// A walk of everything that waits to begin, and who waits for it.
    full: Option<Vec<Waiter>>,
    subtrees: BTreeSet<RepoPath>,
    /// Directories that could not be watched.
    pub(super) polled: BTreeSet<RepoPath>,
    poll_due: Option<Instant>,
    audit_every: Duration,
    audit_due: Instant,
    root_check_due: Instant,
    /// Until when the index is known to follow the disk.
    known_until: Option<Timestamp>,
    /// What the last walk of everything counted.
    pub(super) totals: Totals,
}

impl Walks {
    /// Nothing is asked for yet; the index was last written at `known_until`.
    pub(super) fn new(audit_every: Duration, known_until: Option<Timestamp>) -> Self {
        let now = Instant::now();
        Self {
            running: None,
            set_aside: None,
            full: None,
            subtrees: BTreeSet::new(),
            polled: BTreeSet::new(),
            poll_due: None,
            audit_every,
            audit_due: now + audit_every,
            root_check_due: now + ROOT_CHECK_EVERY,
            known_until,
            totals: Totals::default(),
        }
    }

    /// Asks for everything to be compared.
    pub(super) fn compare_all(&mut self, waiters: Vec<Waiter>) {
        self.full.get_or_insert_default().extend(waiters);
    }

    /// Asks for these directories, and all below, to be compared.
    pub(super) fn add_subtrees(&mut self, directories: impl IntoIterator<Item = RepoPath>) {
        self.subtrees.extend(directories);
    }

    /// Notes that a directory cannot be watched.
    pub(super) fn poll(&mut self, directory: RepoPath) {
        self.polled.insert(directory);
        self.poll_due.get_or_insert_with(|| Instant::now() + POLL_EVERY);
    }

    /// Forgets all that was asked of a root that is gone. Gives back who waited for it.
    pub(super) fn clear(&mut self) -> Vec<Waiter> {
        let mut waiters = self.running.take().map(|running| running.waiters).unwrap_or_default();
        waiters.extend(self.full.take().unwrap_or_default());
        self.set_aside = None;
        self.subtrees.clear();
        self.polled.clear();
        self.poll_due = None;
        waiters
    }

    /// When a root that is not there is looked for again.
    pub(super) fn root_check_due(&self) -> Instant {
        self.root_check_due
    }

    /// Notes that it was looked for.
    pub(super) fn root_checked(&mut self) {
        self.root_check_due = Instant::now() + ROOT_CHECK_EVERY;
    }

    /// When the next walk begins, given when a repair is due, or the running one goes on: until it
    /// ends no other begins, and to wake up for one that is due would be to wake up in vain.
    pub(super) fn next_deadline(&self, repair_due: Option<Instant>) -> Option<Instant> {
        match &self.running {
            Some(running) => running.rests_until,
            None => [repair_due, self.poll_due, Some(self.audit_due)].into_iter().flatten().min(),
        }
    }

    /// Has an audit make way for what cannot wait for its rests. It has nobody who waits for it, so
    /// one that is overtaken by a walk of everything is let go of; it goes on after any other walk.
    fn make_way(&mut self, repair: bool, now: Instant) {
        let Some(audit) = self.running.take_if(|running| running.purpose == Purpose::Audit) else {
            return;
        };
        if repair || self.full.is_some() {
            return;
        }
        if self.subtrees.is_empty() && !self.is_poll_due(now) {
            self.running = Some(audit);
        } else {
            self.set_aside = Some(audit);
        }
    }

    fn is_poll_due(&self, now: Instant) -> bool {
        self.poll_due.is_some_and(|due| due <= now)
    }

    /// The next walk to be made: subtrees first, since something appeared there.
    fn next(&mut self, repair: bool, now: Instant, filter: &Filter) -> Option<Running> {
        let (starts, purpose, waiters) = if !self.subtrees.is_empty() {
            let starts = tops(std::mem::take(&mut self.subtrees));
            (starts, Purpose::Subtree, Vec::new())
        } else if repair {
            self.set_aside = None;
            (vec![RepoPath::root()], Purpose::Repair, self.full.take().unwrap_or_default())
        } else if let Some(waiters) = self.full.take() {
            self.set_aside = None;
            (vec![RepoPath::root()], Purpose::Compare, waiters)
        } else if self.is_poll_due(now) {
            self.poll_due = None;
            (tops(std::mem::take(&mut self.polled)), Purpose::Poll, Vec::new())
        } else if let Some(audit) = self.set_aside.take() {
            return Some(audit);
        } else if self.audit_due <= now {
            self.audit_due = now + self.audit_every;
            (vec![RepoPath::root()], Purpose::Audit, Vec::new())
        } else {
            return None;
        };
        let (walk, moved) = (Walk::new(starts, filter), Moved::new(self.known_until));
        Some(Running { walk, purpose, moved, waiters, rests_until: None })
    }
}

/// Of the directories, those that lie in no other of them.
fn tops(directories: BTreeSet<RepoPath>) -> Vec<RepoPath> {
    let all = directories.clone();
    directories.into_iter().filter(|path| !path.ancestors().any(|up| all.contains(&up))).collect()
}

impl Tracker {
    /// Compares everything and answers when what differs is durable.
    pub(super) fn scan_for(&mut self, waiter: Waiter) {
        if self.sight.is_some() {
            self.walks.compare_all(vec![waiter]);
        } else if !self.parts.paused {
            self.waiting.push(waiter);
        }
    }

    /// Examines the next chunk of the queue, and meanwhile takes a step of the walk that runs or is
    /// next: either alone leaves cores idle towards its end. `false` when there is nothing to do now.
    pub(super) fn advance(&mut self) -> Result<bool, SpoolError> {
        let now = Instant::now();
        let chunk = self.next_chunk();
        let Some(mut running) = self.take_walk(now, chunk.is_empty()) else {
            let found = !chunk.is_empty();
            self.examine(Vec::new(), chunk);
            return Ok(found);
        };
        if running.walk.is_done() {
            self.end_walk(running)?;
            return Ok(true);
        }
        let dirs_max = if running.purpose == Purpose::Audit { AUDIT_DIRS } else { usize::MAX };
        let anew = running.purpose.arms_anew();
        let (examined, step) = self.step(&mut running.walk, dirs_max, anew, chunk);
        self.take_in(examined);
        self.take_step(step, &mut running)?;
        running.rests_until = (running.purpose == Purpose::Audit).then(|| now + AUDIT_REST);
        self.walks.running = Some(running);
        Ok(true)
    }

    /// The walk that runs or is next, unless it must wait: for its rest, for room in the queue, or
    /// with its end until all that it found has been examined.
    fn take_walk(&mut self, now: Instant, idle: bool) -> Option<Running> {
        if self.sight.is_none() || self.queue.len() > QUEUE_MAX {
            return None;
        }
        let repair = self.gaps.repair_due().is_some_and(|due| due <= now);
        self.walks.make_way(repair, now);
        let running = self.walks.running.take().or_else(|| self.next_walk(repair, now))?;
        let rests = running.rests_until.is_some_and(|until| until > now);
        if rests || (running.walk.is_done() && !idle) {
            self.walks.running = Some(running);
            return None;
        }
        Some(running)
    }

    fn next_walk(&mut self, repair: bool, now: Instant) -> Option<Running> {
        let running = self.walks.next(repair, now, &self.sight.as_ref()?.filter)?;
        if running.purpose == Purpose::Repair {
            self.gaps.repair_began();
            self.reset_watch();
        }
        Some(running)
    }

    /// After lost events nobody knows which directory a watch stands for: all of them are dropped,
    /// and the walk that follows arms anew.
    fn reset_watch(&self) {
        if let Some(sight) = &self.sight
            && let Err(error) = sight.watch.reset()
        {
            let repo = &self.parts.config.name;
            tracing::warn!(repo, %error, "the old watches stay in use");
        }
    }

    /// Walks directories that appeared, to the end and at once: they are to be armed before more
    /// happens in them. Also gives back the files whose places they took.
    pub(super) fn walk_now(
        &mut self,
        starts: BTreeSet<RepoPath>,
    ) -> Result<(Vec<Difference>, Vec<Hinted>), SpoolError> {
        let Some(sight) = &self.sight else { return Ok(Default::default()) };
        let mut walk = Walk::new(tops(starts), &sight.filter);
        let mut differences = Vec::new();
        while !walk.is_done() {
            let (_, step) = self.step(&mut walk, usize::MAX, true, Vec::new());
            self.note_unreadable(step.unreadable)?;
            differences.extend(step.differences);
        }
        let unmet = self.unmet(&walk)?;
        let (replaced, unmet) =
            unmet.into_iter().partition(|(path, _)| walk.starts().contains(path));
        self.examine_paths(unmet)?;
        Ok((differences, replaced))
    }

    /// Takes a step of `walk` while `chunk` is examined beside it.
    fn step(
        &mut self,
        walk: &mut Walk,
        dirs_max: usize,
        anew: bool,
        chunk: Vec<Candidate>,
    ) -> (Examined, Step) {
        let Some(Sight { root, dev, watch, filter, .. }) = &mut self.sight else {
            return Default::default();
        };
        let reading = self.parts.reading(root);
        let ground = Ground {
            root,
            dev: *dev,
            known: self.parts.repo.known(),
            one_filesystem: self.parts.watch.one_filesystem,
            nested: self.parts.watch.nested,
        };
        let refused = Mutex::new(Vec::new());
        let (examined, step) = self.parts.hasher.pool().join(
            || reading.examine(Vec::new(), chunk),
            || {
                walk.step(&ground, filter, dirs_max, |targets| {
                    let found = Sight::arm(watch, targets, anew);
                    refused.lock().expect("nobody panics with it").extend(found);
                })
            },
        );
        for path in &step.nested {
            watch.disarm(path);
        }
        for path in refused.into_inner().expect("nobody panics with it") {
            self.walks.poll(path);
        }
        (examined, step)
    }

    fn take_step(&mut self, step: Step, running: &mut Running) -> Result<(), SpoolError> {
        self.note_unreadable(step.unreadable)?;
        let seen = self.parts.clock.now();
        for difference in step.differences {
            if running.moved.holds(&difference, self.parts.repo.known(), seen) {
                continue;
            }
            if running.purpose == Purpose::Compare {
                self.queue.push_back(candidate(difference, seen));
            } else {
                self.take_difference(difference, seen);
            }
        }
        Ok(())
    }

    /// Has a difference examined, at once or when it has settled.
    pub(super) fn take_difference(&mut self, difference: Difference, seen: Timestamp) {
        if self.is_fresh(&difference, seen) {
            self.settle.push(&difference.path, Urgency::Quiet, seen, Instant::now());
        } else {
            self.queue.push_back(candidate(difference, seen));
        }
    }

    /// Whether it changed so recently that more is to be expected.
    fn is_fresh(&self, difference: &Difference, now: Timestamp) -> bool {
        let stat = &difference.stat;
        let changed = Timestamp::from_nanos(stat.mtime_ns.max(stat.ctime_ns));
        now >= changed && now.since(changed) < self.effective.settle.settle
    }

    /// A directory that became unreadable deletes nothing: what the index has below it is looked at
    /// path by path, and each is found to be out of sight.
    fn note_unreadable(&mut self, directories: Vec<RepoPath>) -> Result<(), SpoolError> {
        if directories.is_empty() {
            return Ok(());
        }
        self.await_durable()?;
        let seen = self.parts.clock.now();
        for directory in directories {
            let rows = self.parts.reader.rows_within(self.parts.repo.id(), &directory)?;
            let seen_before = rows
                .into_iter()
                .filter(|(_, row)| row.state != State::Skipped(SkipReason::Unreadable))
                .map(|(path, _)| Candidate { path, seen, stat: None, held: true });
            self.queue.extend(seen_before);
        }
        Ok(())
    }

    fn end_walk(&mut self, running: Running) -> Result<(), SpoolError> {
        let mut paths = self.unmet(&running.walk)?;
        paths.extend(running.moved.into_held());
        self.examine_paths(paths)?;
        if running.walk.covers_everything() {
            self.walks.totals = running.walk.totals();
            self.walks.known_until = Some(self.parts.clock.now());
            self.ending = true;
        }
        if running.purpose == Purpose::Repair {
            self.repair_ended();
        }
        self.waiting.extend(running.waiters);
        self.note_watch_limit();
        Ok(())
    }

    /// Rows below the walk's starts that it did not meet: gone, ignored or out of sight.
    fn unmet(&mut self, walk: &Walk) -> Result<Vec<Hinted>, SpoolError> {
        self.await_durable()?;
        let known = self.parts.repo.known();
        if walk.covers_everything() && !known.any_unmet(|key| walk.has_met(key)) {
            return Ok(Vec::new());
        }
        let seen = self.parts.clock.now();
        let mut unmet = Vec::new();
        for start in walk.starts() {
            let rows = self.parts.reader.rows_within(self.parts.repo.id(), start)?;
            let paths = rows.into_iter().map(|(path, _)| path);
            let left = paths.filter(|path| !walk.has_met(known.key(path)));
            unmet.extend(left.map(|path| (path, seen)));
        }
        Ok(unmet)
    }
}

/// A difference as a candidate.
pub(super) fn candidate(difference: Difference, seen: Timestamp) -> Candidate {
    let Difference { path, stat } = difference;
    Candidate { path, seen, stat: Some(stat), held: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A poll or an audit that fell due while another walk rested woke the tracker at once and in
    /// vain, over and over: a whole core until the walk ended.
    #[test]
    fn while_a_walk_rests_nothing_else_wakes_the_tracker() {
        let now = Instant::now();
        let mut walks = Walks::new(Duration::ZERO, None);
        walks.poll(RepoPath::root());
        let long_due = walks.next_deadline(Some(now)).expect("an audit is due");
        assert!(long_due <= Instant::now());
        let rests_until = now + AUDIT_REST;
        walks.running = Some(audit(rests_until));
        assert_eq!(walks.next_deadline(Some(now)), Some(rests_until));
    }

    fn audit(rests_until: Instant) -> Running {
        Running {
            walk: Walk::new(Vec::new(), &Filter::default()),
            purpose: Purpose::Audit,
            moved: Moved::default(),
            waiters: Vec::new(),
            rests_until: Some(rests_until),
        }
    }

    /// The purposes of the walks that run when `ask` was asked during an audit.
    fn check_after_audit(repair: bool, ask: impl FnOnce(&mut Walks), expected: &[Purpose]) {
        let now = Instant::now();
        let mut walks = Walks::new(Duration::from_hours(1), None);
        walks.running = Some(audit(now + AUDIT_REST));
        ask(&mut walks);
        let (mut repair, mut purposes) = (repair, Vec::new());
        walks.make_way(repair, now);
        while let Some(running) =
            walks.running.take().or_else(|| walks.next(repair, now, &Filter::default()))
        {
            repair = false;
            purposes.push(running.purpose);
        }
        assert_eq!(purposes, expected);
    }

    /// `scan --wait` on 12,000 directories took ten seconds, most of them the rests of an audit that
    /// had just begun.
    #[test]
    fn nothing_urgent_waits_for_an_audit_to_end() {
        use Purpose::{Audit, Compare, Poll, Repair, Subtree};
        check_after_audit(false, |_| {}, &[Audit]);
        check_after_audit(false, |walks| walks.compare_all(Vec::new()), &[Compare]);
        check_after_audit(true, |_| {}, &[Repair]);
        check_after_audit(false, |walks| walks.add_subtrees([RepoPath::root()]), &[Subtree, Audit]);
        let poll = |walks: &mut Walks| {
            walks.poll(RepoPath::root());
            walks.poll_due =
                Some(Instant::now().checked_sub(POLL_EVERY).unwrap_or_else(Instant::now));
        };
        check_after_audit(false, poll, &[Poll, Audit]);
    }
}
