//! What was read of each lane and is not written: its batch, and whether it may go on.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::batch::{Batch, Place};
use super::lane::Lane;

/// The records of a lane.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) batch: Batch,
    /// Whether its partitions are paused, until it goes on.
    pub(super) paused: bool,
    /// Not before then.
    pub(super) rest_until: Option<Instant>,
}

impl Queue {
    /// Whether it may not go on yet.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.rest_until.is_some_and(|until| now < until)
    }

    /// How long until it may go on.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        self.rest_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Whether nothing is to be read before it has gone on.
    pub(super) fn is_in_the_way(&self, rows_max: usize) -> bool {
        self.paused || self.batch.is_full(rows_max)
    }

    /// Whether there is something for a transaction: enough, or what has waited long enough.
    pub(super) fn is_due(&self, rows_max: usize, wait: Duration, now: Instant) -> bool {
        let has_waited = self.batch.since().is_some_and(|since| since + wait <= now);
        has_waited || self.batch.is_full(rows_max)
    }
}

/// The queues of both lanes.
#[derive(Default)]
pub(super) struct Queues {
    events: Queue,
    questions: Queue,
}

impl Queues {
    pub(super) const fn of(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Events => &self.events,
            Lane::Questions => &self.questions,
        }
    }

    pub(super) const fn of_mut(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Events => &mut self.events,
            Lane::Questions => &mut self.questions,
        }
    }

    /// Forgets the records of these partitions: they are somebody else's now.
    pub(super) fn drop_places(&mut self, places: &HashSet<Place>) {
        self.events.batch.drop_places(places);
        self.questions.batch.drop_places(places);
    }

    /// Whether nothing is to be read before one of them has gone on.
    pub(super) fn is_one_in_the_way(&self, rows_max: usize) -> bool {
        Lane::BOTH.iter().any(|lane| self.of(*lane).is_in_the_way(rows_max))
    }
}
