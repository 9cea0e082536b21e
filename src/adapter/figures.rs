//! Metrics: the names that the contract of the older service gives, and our own beside them.

use super::breaker;
use super::decode::Refusal;
use super::placement::Beginning;
use crate::runtime::metrics::{Counter, Counters, Gauge, Histograms, Metrics};
use crate::store::operations::{EQUIVOCATION, REFUSED, Waiting};

/// What is counted. Cheap to clone; the parts write, the exposition reads.
#[derive(Clone)]
pub(super) struct Figures {
    /// Records by topic.
    pub(super) consumed: Counters<1>,
    /// Transactions by kind and outcome.
    pub(super) operations: Counters<2>,
    /// How long they took.
    pub(super) durations: Histograms<1>,
    /// Dead letters by reason, and transactions that failed by code.
    pub(super) errors: Counters<1>,
    /// Sessions with the database.
    pub(super) pool_size: Gauge,
    /// Those of them that are in use.
    pub(super) pool_usage: Gauge,
    breaker: Gauge,
    /// Events on topics that the adapter itself wrote.
    pub(super) published: Counter,
    /// Events whose operations are in effect.
    pub(super) events: Counter,
    /// Dead letters.
    pub(super) dead: Counter,
    partitions: Gauge,
    beginnings: Counters<1>,
    /// Records that a topic no longer had when they were to be read.
    pub(super) expired: Counter,
    pending_steps: Gauge,
    pending_steps_longest: Gauge,
}

impl Figures {
    /// Registers everything, with the series that have yet to happen at 0.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let figures = Self {
            consumed: metrics.counters(
                "kafka_messages_consumed_total",
                "Records read from Kafka.",
                ["topic"],
            ),
            operations: metrics.counters(
                "database_operations_total",
                "Transactions with the database.",
                ["operation_type", "status"],
            ),
            durations: metrics.seconds_by(
                "database_operation_duration_seconds",
                "How long a transaction took.",
                ["operation_type"],
            ),
            errors: metrics.counters(
                "operation_errors_total",
                "Dead letters by reason, and transactions that failed by code.",
                ["error_type"],
            ),
            pool_size: metrics.gauge("connection_pool_size", "Sessions with the database."),
            pool_usage: metrics.gauge("connection_pool_usage", "Sessions that are in use."),
            breaker: metrics.gauge("circuit_breaker_state", "0 closed, 1 half open, 2 open."),
            published: metrics
                .counter("kafka_events_published_total", "Answers and dead letters on topics."),
            events: metrics.counter("stampd_adapter_events_total", "Events that are in effect."),
            dead: metrics.counter("stampd_adapter_dead_letters_total", "Dead letters."),
            partitions: metrics
                .gauge("stampd_adapter_partitions", "Partitions that are read by this process."),
            beginnings: metrics.counters(
                "stampd_adapter_partitions_begun_total",
                "Partitions that were taken up, by where.",
                ["state"],
            ),
            expired: metrics.counter(
                "stampd_adapter_records_expired_total",
                "Records that a topic no longer had when they were to be read.",
            ),
            pending_steps: metrics.gauge(
                "stampd_adapter_pending_steps",
                "Steps that wait for their workflow, in the database.",
            ),
            pending_steps_longest: metrics.gauge(
                "stampd_adapter_pending_steps_longest_seconds",
                "How long the first of them has waited.",
            ),
        };
        for word in Beginning::WORDS {
            figures.beginnings.of([word]).inc_by(0);
        }
        for code in Refusal::CODES.into_iter().chain([REFUSED, EQUIVOCATION]) {
            figures.errors.of([code]).inc_by(0);
        }
        for status in ["success", "error"] {
            figures.operations.of(["take", status]).inc_by(0);
        }
        figures
    }

    pub(super) fn breaker(&self, state: breaker::State) {
        self.breaker.set(state.as_number());
    }

    /// How many partitions are read by this process.
    pub(super) fn partitions(&self, count: usize) {
        self.partitions.set(u32::try_from(count).unwrap_or(u32::MAX).into());
    }

    /// Steps that wait for their workflow.
    pub(super) fn pending(&self, waiting: &Waiting) {
        self.pending_steps.set(u32::try_from(waiting.steps).unwrap_or(u32::MAX).into());
        self.pending_steps_longest.set(waiting.longest.as_secs_f64());
    }

    /// A partition is taken up.
    pub(super) fn begun(&self, beginning: Beginning) {
        self.beginnings.of([beginning.as_str()]).inc();
        if let Beginning::Expired { lost } = beginning {
            self.expired.inc_by(lost);
        }
    }
}
