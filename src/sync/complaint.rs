//! When to speak of a failure: at once when it is new, then once an hour.
//!
//! Pure. An agent that is offline for a week must not fill a disk with the news of it.

use std::time::{Duration, Instant};

use crate::model::status::ReachState;

const REPEAT_EVERY: Duration = Duration::from_hours(1);

/// What was said last, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Complaint {
    last: Option<(ReachState, Instant)>,
}

/// What to say now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    /// Nothing.
    Nothing,
    /// That it fails.
    Failing,
    /// That it fails no more.
    Restored,
}

impl Complaint {
    /// Takes note of the state at `now`.
    pub(super) fn about(&mut self, state: ReachState, now: Instant) -> Say {
        match state {
            ReachState::Disabled | ReachState::Probing | ReachState::HalfOpen => Say::Nothing,
            ReachState::Online => self.last.take().map_or(Say::Nothing, |_| Say::Restored),
            ReachState::Offline | ReachState::Degraded | ReachState::Parked => {
                self.about_failure(state, now)
            }
        }
    }

    fn about_failure(&mut self, state: ReachState, now: Instant) -> Say {
        match self.last {
            // Between offline and degraded a bad road may swing for days; parked is other news.
            Some((last, at))
                if (last == ReachState::Parked) == (state == ReachState::Parked)
                    && now.saturating_duration_since(at) < REPEAT_EVERY =>
            {
                Say::Nothing
            }
            Some(_) | None => {
                self.last = Some((state, now));
                Say::Failing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_at_once_then_hourly_and_so_is_its_end() {
        let start = Instant::now();
        let mut complaint = Complaint::default();
        for (minute, state, say) in [
            (0, ReachState::Probing, Say::Nothing),
            (0, ReachState::Online, Say::Nothing),
            (1, ReachState::Offline, Say::Failing),
            (2, ReachState::Probing, Say::Nothing),
            (2, ReachState::Offline, Say::Nothing),
            (3, ReachState::Degraded, Say::Nothing),
            (60, ReachState::Offline, Say::Nothing),
            (61, ReachState::Offline, Say::Failing),
            (62, ReachState::Parked, Say::Failing),
            (63, ReachState::Parked, Say::Nothing),
            (64, ReachState::HalfOpen, Say::Nothing),
            (64, ReachState::Online, Say::Restored),
            (65, ReachState::Online, Say::Nothing),
            (66, ReachState::Degraded, Say::Failing),
        ] {
            let now = start + Duration::from_mins(minute);
            assert_eq!(complaint.about(state, now), say, "minute {minute}, {state:?}");
        }
    }
}
