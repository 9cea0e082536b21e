//! How the adapter is: what its parts know, for health to tell.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::batch::Place;
use super::breaker;

/// What the parts know. Each field has one writer; health reads all.
pub(super) struct View(Mutex<State>);

struct State {
    /// Written by the watch over the road.
    kafka: Side,
    /// Written by the consumer.
    database: Side,
    /// As above.
    breaker: breaker::State,
    /// As above.
    partitions: BTreeMap<Place, Held>,
    /// Written by the drain of dead letters.
    dead_letters: Side,
    /// Written by the watch over steps that wait.
    pending_steps: Side,
}

/// How one side is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Not tried yet.
    Unknown,
    /// All is well.
    Good,
    /// Not well, for this reason.
    Bad(String),
}

/// A partition in our hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Where reading of it began, in a word.
    pub(super) state: &'static str,
    /// What comes next.
    pub(super) next: i64,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) healthy: bool,
    pub(super) ready: bool,
    pub(super) kafka: Option<String>,
    pub(super) database: Option<String>,
    pub(super) dead_letters: Option<String>,
    pub(super) pending_steps: Option<String>,
    pub(super) breaker: &'static str,
    pub(super) partitions: Vec<PartitionReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct PartitionReport {
    topic: String,
    partition: i32,
    state: &'static str,
    next_offset: i64,
}

impl View {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            kafka: Side::Unknown,
            database: Side::Unknown,
            breaker: breaker::State::Closed,
            partitions: BTreeMap::new(),
            dead_letters: Side::Good,
            pending_steps: Side::Good,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells how Kafka is, and whether that is news.
    pub(super) fn kafka(&self, side: Side) -> bool {
        replace(&mut self.lock().kafka, side)
    }

    /// Tells how the database is, and whether that is news.
    pub(super) fn database(&self, side: Side) -> bool {
        replace(&mut self.lock().database, side)
    }

    /// Tells how the way to the topics of dead letters is, and whether that is news.
    pub(super) fn dead_letters(&self, side: Side) -> bool {
        replace(&mut self.lock().dead_letters, side)
    }

    /// Tells how steps that wait are, and whether that is news.
    pub(super) fn pending_steps(&self, side: Side) -> bool {
        replace(&mut self.lock().pending_steps, side)
    }

    pub(super) fn breaker(&self, state: breaker::State) {
        self.lock().breaker = state;
    }

    pub(super) fn partitions(&self, partitions: BTreeMap<Place, Held>) {
        self.lock().partitions = partitions;
    }

    pub(super) fn report(&self) -> Report {
        let state = self.lock();
        let partition = |((topic, partition), held): (&Place, &Held)| PartitionReport {
            topic: topic.clone(),
            partition: *partition,
            state: held.state,
            next_offset: held.next,
        };
        let ready = [&state.kafka, &state.database].iter().all(|side| **side == Side::Good);
        Report {
            healthy: ready
                && state.dead_letters == Side::Good
                && state.pending_steps == Side::Good
                && state.breaker == breaker::State::Closed,
            ready,
            kafka: state.kafka.reason(),
            database: state.database.reason(),
            dead_letters: state.dead_letters.reason(),
            pending_steps: state.pending_steps.reason(),
            breaker: state.breaker.as_str(),
            partitions: state.partitions.iter().map(partition).collect(),
        }
    }
}

impl Side {
    pub(super) fn reason(&self) -> Option<String> {
        match self {
            Self::Good => None,
            Self::Unknown => Some("not tried yet".to_owned()),
            Self::Bad(reason) => Some(reason.clone()),
        }
    }
}

fn replace(held: &mut Side, side: Side) -> bool {
    let is_news = *held != side;
    *held = side;
    is_news
}
