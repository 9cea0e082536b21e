//! Records that go together: events in one lane, questions in the other.
//!
//! Questions are answered before they count as read, and an answer that cannot be sent holds up no
//! event. No partition has records of both.

use super::route::Slug;

/// Records that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Events,
    Questions,
}

impl Lane {
    pub(super) const BOTH: [Self; 2] = [Self::Events, Self::Questions];

    pub(super) const fn of(slug: Slug) -> Self {
        match slug {
            Slug::QueryRequested => Self::Questions,
            Slug::WorkflowStarted
            | Slug::WorkflowCompleted
            | Slug::WorkflowFailed
            | Slug::StepCompleted
            | Slug::StampCreated
            | Slug::StateTransition
            | Slug::StateAggregationCompleted
            | Slug::NodeHeartbeat => Self::Events,
        }
    }
}
