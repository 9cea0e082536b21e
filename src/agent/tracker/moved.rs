//! Files that may have been moved while nobody looked.
//!
//! A walk meets a file under its new name before it can know that the one under the old name is gone.
//! Holds such files back until the walk ends, so that both names are looked at together and the file
//! is recorded as renamed. Which of them were moved is left to that look.

use super::due::Hinted;
use crate::runtime::time::Timestamp;
use crate::scan::walk::Difference;
use crate::spool::{Known, Look};

/// The most files that are held back; what comes beyond is recorded as created, and its old name as
/// deleted.
const HELD_MAX: usize = 16_384;

/// What a walk holds back.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Until when the index is known to follow the disk; none while there is none.
    known_until: Option<Timestamp>,
    held: Vec<Hinted>,
}

impl Moved {
    /// Holds nothing back yet.
    pub(super) fn new(known_until: Option<Timestamp>) -> Self {
        Self { known_until, held: Vec::new() }
    }

    /// Whether a difference is held back: a file that is new to the index and older than it. Where
    /// the file system keeps no birth time, any that is new may be.
    pub(super) fn holds(&mut self, found: &Difference, known: &Known, seen: Timestamp) -> bool {
        let Some(until) = self.known_until else { return false };
        let is_old = found.stat.btime_ns.is_none_or(|birth| Timestamp::from_nanos(birth) <= until);
        let held = is_old
            && self.held.len() < HELD_MAX
            && known.check(&found.path, &found.stat) == Look::New;
        if held {
            self.held.push((found.path.clone(), seen));
        }
        held
    }

    /// What was held back.
    pub(super) fn into_held(self) -> Vec<Hinted> {
        self.held
    }
}
