//! What the API counts, under the names that dashboards of the stamping protocol know.

use std::time::Instant;

use serde_json::{Value, json};

use super::backend::Outage;
use super::operations;
use super::problem::Code;
use crate::runtime::metrics::{Counter, Counters, Histogram, Histograms, Metrics};

/// The questions that are asked of what holds the stamps.
const QUESTIONS: [&str; 3] = ["stamp", "find", "page"];

/// The API's counters.
#[derive(Debug)]
pub(super) struct Counts {
    stamps: Counter,
    hashing: Histogram,
    operations: [(&'static str, Histogram); 7],
    errors: Counters<1>,
    questions: Counters<2>,
    asking: Histograms<1>,
    /// Failures of what holds the stamps that the log was not told of.
    pub(super) outage: Outage,
}

impl Counts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let took = metrics.seconds_by(
            "stamp_operation_duration_seconds",
            "Time from a request to its reply, by route.",
            ["operation"],
        );
        Self {
            stamps: metrics.counter("stamps_created_total", "Contents stamped for the first time."),
            hashing: metrics
                .seconds("hash_generation_duration_seconds", "Time to hash what was sent."),
            operations: operations().map(|(name, _)| (name, took.of([name]))),
            errors: metrics.counters(
                "operation_errors_total",
                "Requests that were answered with a problem, by its code.",
                ["error_type"],
            ),
            questions: metrics.counters(
                "database_operations_total",
                "What was asked of what holds the stamps.",
                ["operation_type", "status"],
            ),
            asking: metrics.seconds_by(
                "database_operation_duration_seconds",
                "Time until what holds the stamps had answered.",
                ["operation_type"],
            ),
            outage: Outage::default(),
        }
    }

    /// So many contents were stamped that had not been.
    pub(super) fn stamped(&self, fresh: usize) {
        self.stamps.inc_by(fresh as u64);
    }

    /// Something was hashed.
    pub(super) fn hashed(&self, since: Instant) {
        self.hashing.observe(since.elapsed().as_secs_f64());
    }

    /// A route has its reply.
    pub(super) fn done(&self, operation: &str, since: Instant) {
        let took = self.operations.iter().find(|(name, _)| *name == operation);
        let (_, took) = took.expect("every stamping route is among the operations");
        took.observe(since.elapsed().as_secs_f64());
    }

    /// A request was answered with a problem.
    pub(super) fn failed(&self, code: Code) {
        self.errors.of([code.as_str()]).inc();
    }

    /// What holds the stamps has answered, or not.
    pub(super) fn asked(&self, question: &str, since: Instant, answered: bool) {
        let status = if answered { "success" } else { "error" };
        self.questions.of([question, status]).inc();
        self.asking.of([question]).observe(since.elapsed().as_secs_f64());
    }

    /// The sums, for people and programs without a Prometheus.
    pub(super) fn to_summary(&self) -> Value {
        let mut asked = Vec::new();
        for question in QUESTIONS {
            let mut entry = mean(&self.asking.of([question]));
            entry["operation"] = question.into();
            entry["errors"] = self.questions.of([question, "error"]).get().into();
            asked.push(entry);
        }
        json!({
            "hash_generation": mean(&self.hashing),
            "database": asked,
            "stamps_created": self.stamps.get(),
        })
    }
}

fn mean(times: &Histogram) -> Value {
    let (count, total_ms) = (times.get_sample_count(), times.get_sample_sum() * 1_000.0);
    // Far more operations than 32 bits count make no difference to a mean.
    let divisor = f64::from(u32::try_from(count).unwrap_or(u32::MAX).max(1));
    json!({"count": count, "total_ms": total_ms, "avg_ms": total_ms / divisor})
}
