//! The wall clock, which tests can hold and move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use super::time::Timestamp;

/// A source of the time of day. Copies of a mock share one hand.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    /// Nanoseconds since the epoch; written by the test, read by everyone.
    Mock(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `time` until it is moved.
    pub fn mock(time: Timestamp) -> Self {
        Self(Source::Mock(Arc::new(AtomicI64::new(time.as_nanos()))))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
            Source::System => SystemTime::now().into(),
            Source::Mock(hand) => Timestamp::from_nanos(hand.load(Ordering::SeqCst)),
        }
    }

    /// Moves a mock forward; the machine's clock is not ours to move.
    pub fn advance(&self, by: Duration) {
        if let Source::Mock(hand) = &self.0 {
            hand.fetch_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}
