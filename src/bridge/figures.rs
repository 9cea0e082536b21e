//! The figures of the bridge that nobody counts as they happen, looked at now and then.

use std::convert::Infallible;
use std::time::Duration;

use crate::outbox::{Publisher, Road, Status};
use crate::runtime::metrics::{Counter, Gauge, Gauges, Metrics};
use crate::runtime::supervisor::Supervisor;
use crate::store::stamps::Desk;

/// More often than anybody scrapes.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps the figures until the stop.
pub(super) fn start(
    desk: Desk,
    publisher: Option<Publisher>,
    metrics: &Metrics,
    supervisor: &mut Supervisor,
) {
    let pool = Pool::new(metrics);
    let events = publisher.map(|publisher| (publisher, Events::new(metrics)));
    let stop = supervisor.token();
    supervisor.spawn("figures", async move {
        let mut beat = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok::<_, Infallible>(()),
                _ = beat.tick() => {}
            }
            pool.set(&desk);
            if let Some((publisher, events)) = &events {
                events.set(&publisher.status());
            }
        }
    });
}

/// Registers everything in a registry that nobody reads, for its names.
pub(super) fn register(metrics: &Metrics) {
    let _ = (Pool::new(metrics), Events::new(metrics));
}

/// The figures of the sessions for reading.
struct Pool {
    size: Gauge,
    usage: Gauge,
}

impl Pool {
    fn new(metrics: &Metrics) -> Self {
        Self {
            size: metrics.gauge("connection_pool_size", "Sessions with the database for reading."),
            usage: metrics.gauge(
                "connection_pool_usage",
                "The share of the sessions for reading that may be open and are in use.",
            ),
        }
    }

    fn set(&self, desk: &Desk) {
        let now = desk.usage();
        let share = |part: usize| f64::from(u32::try_from(part).unwrap_or(u32::MAX));
        self.size.set(share(now.size));
        self.usage.set(share(now.used) / share(now.max.max(1)));
    }
}

/// The publisher's figures.
struct Events {
    depth: Gauge,
    published: Counter,
    refused: Counter,
    breaker: Gauges<1>,
}

impl Events {
    fn new(metrics: &Metrics) -> Self {
        Self {
            depth: metrics.gauge("stampd_outbox_depth", "Rows of the outbox that wait for Kafka."),
            published: metrics
                .counter("kafka_events_published_total", "Events that Kafka has confirmed."),
            refused: metrics.counter(
                "stampd_outbox_refused_total",
                "Events that Kafka refused for their content.",
            ),
            breaker: metrics.gauges(
                "circuit_breaker_state",
                "0 while the road is open, 1 while it is closed, 2 before it was tried.",
                ["name"],
            ),
        }
    }

    fn set(&self, status: &Status) {
        self.depth.set(f64::from(u32::try_from(status.depth.entries).unwrap_or(u32::MAX)));
        self.published.inc_by(status.published.saturating_sub(self.published.get()));
        self.refused.inc_by(status.refused.saturating_sub(self.refused.get()));
        self.breaker.of(["kafka"]).set(match status.road {
            Road::Open => 0.0,
            Road::Closed(_) => 1.0,
            Road::Unknown => 2.0,
        });
    }
}
