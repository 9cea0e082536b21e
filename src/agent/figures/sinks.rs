//! Of each sink: the state of its road, how far it has confirmed, and what waits.

use crate::model::status::{ReachState, SinkStatus};
use crate::runtime::metrics::{Gauges, Metrics, number};
use crate::runtime::time::Timestamp;

pub(super) struct Sinks {
    state: Gauges<2>,
    queued: Gauges<1>,
    oldest: Gauges<1>,
    confirmed: Gauges<1>,
    seq: Gauges<2>,
    dead: Gauges<1>,
}

impl Sinks {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let gauges = |name, help| metrics.gauges(name, help, ["sink"]);
        Self {
            state: metrics.gauges(
                "stampd_sync_state",
                "1 for the state of the road to a sink, as `stampd status` says it.",
                ["sink", "state"],
            ),
            queued: gauges(
                "stampd_sync_queued_stamps",
                "Stamps that a sink has not confirmed yet.",
            ),
            oldest: gauges(
                "stampd_sync_oldest_queued_seconds",
                "Age of the oldest of them; 0 when there is none.",
            ),
            confirmed: gauges(
                "stampd_sync_confirmed_timestamp_seconds",
                "When the newest stamp was taken that a sink has confirmed, as Unix time.",
            ),
            seq: metrics.gauges(
                "stampd_sync_confirmed_seq",
                "Seq of the newest stamp of a repo's stream that a sink has confirmed.",
                ["sink", "repo"],
            ),
            dead: gauges(
                "stampd_sync_dead_letters",
                "Stamps that a sink refuses for their content.",
            ),
        }
    }

    /// Forgets the series of all sinks.
    pub(super) fn clear(&self) {
        let Self { state, queued, oldest, confirmed, seq, dead } = self;
        for gauges in [state, seq] {
            gauges.clear();
        }
        for gauges in [queued, oldest, confirmed, dead] {
            gauges.clear();
        }
    }

    pub(super) fn set(&self, statuses: &[SinkStatus], now: Timestamp) {
        for status in statuses {
            let sink = status.name.as_str();
            for state in ReachState::ALL {
                self.state.of([sink, state.as_str()]).set(f64::from(state == status.state));
            }
            let age = status.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64());
            self.queued.of([sink]).set(number(status.queued));
            self.oldest.of([sink]).set(age);
            self.dead.of([sink]).set(number(status.dead_letters));
            if let Some(confirmed) = status.confirmed_at {
                self.confirmed.of([sink]).set(seconds(confirmed));
            }
        }
    }

    /// A sink has confirmed so many stamps of a repo's newest stream.
    pub(super) fn reached(&self, sink: &str, repo: &str, size: u64) {
        if let Some(seq) = size.checked_sub(1) {
            self.seq.of([sink, repo]).set(number(seq));
        }
    }
}

/// Unix time to the millisecond.
fn seconds(time: Timestamp) -> f64 {
    let millis = time.as_nanos().max(0) as u64 / 1_000_000;
    number(millis) / 1_000.0
}
