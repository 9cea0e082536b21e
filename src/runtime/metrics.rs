//! Numbers for whoever watches the process: counters, gauges and histograms in one registry, told in
//! Prometheus' text format.
//!
//! Each stage registers what it counts, under its own names, and keeps the handles; this module knows
//! no name. A label set has a fixed length, so that a missing label is a compile error. Promises:
//! counting takes no lock but that of a label set met for the first time. What is not counted as it
//! happens is looked at when somebody asks, and by nobody otherwise.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use prometheus::{Gauge, Histogram, IntCounter as Counter, IntGauge};
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder,
};

/// The media type of [`Metrics::exposition`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds in seconds for what should take milliseconds.
pub const SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The registry; clones share it.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Registry,
    /// Every name that was registered: what has no series yet is in no exposition.
    names: Arc<Mutex<BTreeSet<String>>>,
    /// What is looked at before everything is told. Held meanwhile, so that no exposition shows half
    /// of what another has just looked at.
    looks: Arc<Mutex<Vec<Look>>>,
}

/// Sets what is not counted as it happens.
type Look = Box<dyn Fn() + Send + Sync>;

/// Counters of one name, told apart by `N` labels.
#[derive(Clone, Debug)]
pub struct Counters<const N: usize>(IntCounterVec);

/// Gauges of one name, told apart by `N` labels.
#[derive(Clone, Debug)]
pub struct Gauges<const N: usize>(GaugeVec);

/// Histograms of one name, told apart by `N` labels.
#[derive(Clone, Debug)]
pub struct Histograms<const N: usize>(HistogramVec);

/// What holds for every registration below.
const ONCE: &str = "names are literals of a legal form, and each is registered by one stage, once";

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a counter; its name ends in `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        self.registered(Counter::new(name, help).expect(ONCE))
    }

    /// Registers counters with labels.
    pub fn counters<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Counters<N> {
        let family = IntCounterVec::new(Opts::new(name, help), &labels).expect(ONCE);
        Counters(self.registered(family))
    }

    /// Registers a gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.registered(Gauge::new(name, help).expect(ONCE))
    }

    /// Registers gauges with labels.
    pub fn gauges<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Gauges<N> {
        let family = GaugeVec::new(Opts::new(name, help), &labels).expect(ONCE);
        Gauges(self.registered(family))
    }

    /// Registers a histogram of seconds, over [`SECONDS`].
    pub fn seconds(&self, name: &'static str, help: &'static str) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        self.registered(Histogram::with_opts(options).expect(ONCE))
    }

    /// Registers histograms of seconds with labels, over [`SECONDS`].
    pub fn seconds_by<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Histograms<N> {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        Histograms(self.registered(HistogramVec::new(options, &labels).expect(ONCE)))
    }

    /// Has `look` set what it registered, each time before everything is told.
    pub fn look_before(&self, look: impl Fn() + Send + Sync + 'static) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(look));
    }

    /// Everything that was counted, as text of the type [`MEDIA_TYPE`].
    pub fn exposition(&self) -> String {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.iter().for_each(|look| look());
        let mut text = String::new();
        TextEncoder::new()
            .encode_utf8(&self.registry.gather(), &mut text)
            .expect("text can be appended to a string");
        text
    }

    /// Every name that was registered.
    pub fn names(&self) -> BTreeSet<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn registered<C: prometheus::core::Collector + Clone + 'static>(&self, collector: C) -> C {
        self.registry.register(Box::new(collector.clone())).expect(ONCE);
        let names = collector.desc().into_iter().map(|desc| desc.fq_name.clone());
        self.names.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
        collector
    }
}

/// A whole number as metrics have it: exact up to 2^53.
pub fn number(whole: u64) -> f64 {
    let (high, low) = ((whole >> 32) as u32, whole as u32);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

impl fmt::Debug for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl<const N: usize> Counters<N> {
    /// The counter of these label values, in the order of the labels.
    pub fn of(&self, values: [&str; N]) -> Counter {
        self.0.with_label_values(&values)
    }

    /// Forgets every series: those of what is there no more do not come back.
    pub fn clear(&self) {
        self.0.reset();
    }
}

impl<const N: usize> Gauges<N> {
    /// The gauge of these label values, in the order of the labels.
    pub fn of(&self, values: [&str; N]) -> Gauge {
        self.0.with_label_values(&values)
    }

    /// Forgets every series: those of what is there no more do not come back.
    pub fn clear(&self) {
        self.0.reset();
    }
}

impl<const N: usize> Histograms<N> {
    /// The histogram of these label values, in the order of the labels.
    pub fn of(&self, values: [&str; N]) -> Histogram {
        self.0.with_label_values(&values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_stands_in_the_text_under_its_name_and_labels() {
        let metrics = Metrics::new();
        let done = metrics.counter("jobs_total", "Jobs done.");
        let failed = metrics.counters("failures_total", "Jobs failed.", ["kind", "stage"]);
        let took = metrics.seconds("job_duration_seconds", "How long a job took.");
        metrics.gauge("queue_depth", "Jobs waiting.").set(3.0);
        done.inc_by(2);
        failed.of(["disk", "read"]).inc();
        took.observe(0.003);
        let text = metrics.clone().exposition();
        for line in [
            "# TYPE jobs_total counter\njobs_total 2\n",
            "failures_total{kind=\"disk\",stage=\"read\"} 1\n",
            "job_duration_seconds_bucket{le=\"0.002\"} 0\n",
            "job_duration_seconds_bucket{le=\"0.005\"} 1\n",
            "job_duration_seconds_count 1\n",
            "# HELP queue_depth Jobs waiting.\n# TYPE queue_depth gauge\nqueue_depth 3\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_looked_at_is_as_it_stands_when_somebody_asks() {
        let metrics = Metrics::new();
        let rooms = metrics.gauges("rooms_lit", "Lit rooms, by floor.", ["floor"]);
        let floor = Arc::new(Mutex::new("first"));
        let lit = Arc::clone(&floor);
        metrics.look_before(move || {
            rooms.clear();
            rooms.of([*lit.lock().unwrap()]).set(number(1 << 40));
        });
        let line = |floor| format!("rooms_lit{{floor=\"{floor}\"}} 1099511627776\n");
        assert!(metrics.exposition().ends_with(&line("first")));
        *floor.lock().unwrap() = "second";
        let told = metrics.exposition();
        assert!(told.ends_with(&line("second")) && !told.contains("first"), "{told}");
    }

    #[test]
    fn a_name_without_a_series_is_known_too() {
        let metrics = Metrics::new();
        let _ = metrics.counters("failures_total", "Jobs failed.", ["kind"]);
        let _ = metrics.seconds("job_duration_seconds", "How long a job took.");
        assert_eq!(
            metrics.names().into_iter().collect::<Vec<_>>(),
            ["failures_total", "job_duration_seconds"]
        );
        assert!(!metrics.exposition().contains("failures_total"));
    }
}
