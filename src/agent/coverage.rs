//! Coverage: which gaps there are in what the agent sees of a repo, and since when.
//!
//! Pure. The tracker reports gaps as they open and close; what comes back is what the stream must
//! record about it.

use std::time::{Duration, Instant};

use crate::model::stamp::Detail;
use crate::model::status::RepoState;
use crate::runtime::time::Timestamp;
use crate::sync::backoff::Backoff;

/// The ceiling of the first wait after a repair that was overtaken by another overflow; it doubles up
/// to the last. The waits are drawn below it: repos that lost events together are not to walk
/// together, again and again.
const REPAIR_WAIT_FIRST: Duration = Duration::from_secs(1);
const REPAIR_WAIT_LAST: Duration = Duration::from_mins(5);

/// A reason for not seeing everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// A person asked for it.
    Paused,
    /// The root is not there, or is not what it was.
    Root,
    /// The kernel dropped events.
    Overflow,
    /// The spool takes no more.
    SpoolFull,
    /// The kernel's watch limit is reached.
    WatchLimit,
}

/// A gap in what is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gap {
    cause: Cause,
    since: Timestamp,
    reason: String,
}

/// The gaps of one repo.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    open: Vec<Gap>,
    repair: Repair,
}

/// The repair of an overflow: a walk of everything.
#[derive(Debug)]
struct Repair {
    stage: Stage,
    /// The waits after repairs that were overtaken.
    backoff: Backoff,
}

impl Default for Repair {
    fn default() -> Self {
        let backoff = Backoff::new(REPAIR_WAIT_FIRST, REPAIR_WAIT_LAST);
        Self { stage: Stage::default(), backoff }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    None,
    Due(Instant),
    Running {
        /// Whether events were lost since it began: what it saw may be stale.
        overtaken: bool,
    },
}

impl Gaps {
    /// Opens a gap, or gives an open one of the same cause its newer reason. Returns what the
    /// stream must record, which is nothing when the gap was open.
    pub(super) fn open(
        &mut self,
        cause: Cause,
        since: Timestamp,
        reason: String,
    ) -> Option<Detail> {
        if let Some(gap) = self.open.iter_mut().find(|gap| gap.cause == cause) {
            gap.reason = reason;
            return None;
        }
        let detail =
            Detail { reason: Some(reason.clone()), since: Some(since), ..Detail::default() };
        self.open.push(Gap { cause, since, reason });
        self.open.sort_by_key(|gap| gap.cause);
        Some(detail)
    }

    /// Closes a gap. Returns what the stream must record: the whole interval.
    pub(super) fn close(&mut self, cause: Cause, until: Timestamp) -> Option<Detail> {
        let index = self.open.iter().position(|gap| gap.cause == cause)?;
        let gap = self.open.remove(index);
        Some(Detail {
            reason: Some(format!("restored: {}", gap.reason)),
            since: Some(gap.since),
            until: Some(until),
            ..Detail::default()
        })
    }

    /// The state these gaps amount to, and the worst one's reason.
    pub(super) fn state(&self) -> (RepoState, Option<String>) {
        match self.open.first() {
            None => (RepoState::Watching, None),
            Some(gap) if gap.cause == Cause::Root => (RepoState::Absent, Some(gap.reason.clone())),
            Some(gap) => (RepoState::Degraded, Some(gap.reason.clone())),
        }
    }

    /// Notes that events were lost: a repair is due at once, or, if one is running, after it and a
    /// wait, so that repairs cannot feed on the overflows they cause.
    pub(super) fn overflowed(&mut self, now: Instant) {
        self.repair.stage = match self.repair.stage {
            Stage::None => Stage::Due(now),
            due @ Stage::Due(_) => due,
            Stage::Running { .. } => Stage::Running { overtaken: true },
        };
    }

    /// Has everything compared again after `wait`, unless that is due already.
    pub(super) fn repair_in(&mut self, now: Instant, wait: Duration) {
        if self.repair.stage == Stage::None {
            self.repair.stage = Stage::Due(now + wait);
        }
    }

    /// When the next repair is due.
    pub(super) fn repair_due(&self) -> Option<Instant> {
        match self.repair.stage {
            Stage::Due(due) => Some(due),
            Stage::None | Stage::Running { .. } => None,
        }
    }

    /// Notes that a repair begins: overflows from here on overtake it.
    pub(super) fn repair_began(&mut self) {
        self.repair.stage = Stage::Running { overtaken: false };
    }

    /// Notes that a repair was given up before its end: another is due.
    pub(super) fn repair_dropped(&mut self, now: Instant) {
        if matches!(self.repair.stage, Stage::Running { .. }) {
            self.repair.stage = Stage::Due(now);
        }
    }

    /// Notes that a repair ended. Returns whether everything is seen again; if not, another is due
    /// after a wait, for which `random` is drawn evenly from all of `u32`.
    pub(super) fn repair_ended(&mut self, now: Instant, random: u32) -> bool {
        if self.repair.stage == (Stage::Running { overtaken: true }) {
            self.repair.stage = Stage::Due(now + self.repair.backoff.next(random));
            return false;
        }
        self.repair = Repair::default();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_gap_is_recorded_when_it_opens_and_as_an_interval_when_it_closes() {
        let mut gaps = Gaps::default();
        let opened = gaps.open(Cause::Overflow, at(5), "lost".into()).expect("recorded");
        assert_eq!((opened.since, opened.until), (Some(at(5)), None));
        assert_eq!(gaps.open(Cause::Overflow, at(6), "lost again".into()), None);
        assert_eq!(gaps.state(), (RepoState::Degraded, Some("lost again".into())));
        let closed = gaps.close(Cause::Overflow, at(9)).expect("recorded");
        assert_eq!((closed.since, closed.until), (Some(at(5)), Some(at(9))));
        assert_eq!(gaps.close(Cause::Overflow, at(9)), None);
        assert_eq!(gaps.state(), (RepoState::Watching, None));
    }

    #[test]
    fn an_absent_root_outweighs_other_gaps() {
        let mut gaps = Gaps::default();
        gaps.open(Cause::WatchLimit, at(1), "limit".into());
        gaps.open(Cause::Root, at(2), "gone".into());
        assert_eq!(gaps.state(), (RepoState::Absent, Some("gone".into())));
    }

    /// A root that went during a repair took the repair with it, and no overflow was repaired any
    /// more: the one that never ended still counted as running.
    #[test]
    fn a_repair_that_is_dropped_is_due_again() {
        let start = Instant::now();
        let mut gaps = Gaps::default();
        gaps.repair_dropped(start);
        assert_eq!(gaps.repair_due(), None);
        gaps.overflowed(start);
        gaps.repair_began();
        gaps.repair_dropped(start);
        assert_eq!(gaps.repair_due(), Some(start));
    }

    #[test]
    fn a_repair_that_is_overtaken_waits_longer_each_time() {
        let start = Instant::now();
        let mut gaps = Gaps::default();
        gaps.overflowed(start);
        assert_eq!(gaps.repair_due(), Some(start));
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            gaps.repair_began();
            assert_eq!(gaps.repair_due(), None);
            gaps.overflowed(start);
            assert!(!gaps.repair_ended(start, u32::MAX));
            assert_eq!(gaps.repair_due(), Some(start + Duration::from_secs(wait)));
        }
        gaps.repair_began();
        assert!(gaps.repair_ended(start, u32::MAX));
        gaps.overflowed(start);
        assert_eq!(gaps.repair_due(), Some(start));
    }

    #[test]
    fn repos_that_lost_events_together_are_repaired_apart() {
        let start = Instant::now();
        let due = |random| {
            let mut gaps = Gaps::default();
            gaps.overflowed(start);
            gaps.repair_began();
            gaps.overflowed(start);
            gaps.repair_ended(start, random);
            gaps.repair_due().expect("it was overtaken")
        };
        assert!(due(0) > start, "luck makes no busy loop");
        assert!(due(0) < due(u32::MAX / 2) && due(u32::MAX / 2) < due(u32::MAX));
    }
}
