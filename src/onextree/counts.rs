//! What OnexTree counts.

use std::time::Instant;

use crate::runtime::metrics::{Counter, Counters, Gauges, Histograms, Metrics};

/// OnexTree's counters.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    requests: Counters<2>,
    took: Histograms<1>,
    pub(super) files: Gauges<1>,
    pub(super) loads: Counter,
}

impl Counts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.counters(
                "stampd_onextree_requests_total",
                "Requests, by route and status.",
                ["route", "status"],
            ),
            took: metrics.seconds_by(
                "stampd_onextree_request_duration_seconds",
                "Time from a request to its reply, by route.",
                ["route"],
            ),
            files: metrics.gauges(
                "stampd_onextree_files",
                "Files that are told of, by repo.",
                ["repo"],
            ),
            loads: metrics.counter(
                "stampd_onextree_loads_total",
                "Times that the whole index of a repo was read.",
            ),
        }
    }

    /// A request has its reply.
    pub(super) fn answered(&self, route: &str, status: u16, since: Instant) {
        self.requests.of([route, &status.to_string()]).inc();
        self.took.of([route]).observe(since.elapsed().as_secs_f64());
    }
}
