//! How long a service that failed is left alone.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The first pause; each further failure doubles it.
pub(super) const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// The longest pause.
pub(super) const PAUSE_MAX: Duration = Duration::from_mins(1);

/// Whether the service is left alone. Written by whoever asked; read before every question.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Option<Pause>>);

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl Outage {
    /// Whether the service is left alone at `now`.
    pub(super) fn lasts(&self, now: Instant) -> bool {
        self.pause().is_some_and(|pause| now < pause.until)
    }

    /// Whether the service failed when it was last asked.
    pub(super) fn is_open(&self) -> bool {
        self.pause().is_some()
    }

    /// The service failed. Returns the pause where it is a new one: of questions that were under way
    /// together, the first alone begins it.
    pub(super) fn began(&self, now: Instant) -> Option<Duration> {
        let mut pause = self.pause();
        let length = match *pause {
            Some(pause) if now < pause.until => return None,
            Some(pause) => (pause.length * 2).min(PAUSE_MAX),
            None => PAUSE_FIRST,
        };
        *pause = Some(Pause { until: now + length, length });
        Some(length)
    }

    /// The service answered.
    pub(super) fn ended(&self) {
        *self.pause() = None;
    }

    fn pause(&self) -> MutexGuard<'_, Option<Pause>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_pause_and_an_answer_ends_it() {
        let (outage, mut now) = (Outage::default(), Instant::now());
        assert!(!outage.lasts(now));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(outage.began(now), Some(pause));
            assert_eq!(outage.began(now), None, "one that was under way with it");
            assert!(outage.lasts(now) && outage.is_open());
            now += pause;
            assert!(!outage.lasts(now) && outage.is_open());
        }
        outage.ended();
        assert!(!outage.is_open());
        assert_eq!(outage.began(now), Some(PAUSE_FIRST));
    }
}
