//! Waits between attempts: exponential with full jitter.
//!
//! Pure: the randomness comes in. Full jitter keeps a fleet whose server went away from coming back
//! in step.

use std::time::Duration;

/// No wait is shorter than this part of the first ceiling, so that luck makes no busy loop.
const FLOOR_DIVISOR: u32 = 10;

/// A wait drawn between a floor and a ceiling that doubles with every failure.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Ceilings from `first` to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, failures: 0 }
    }

    /// The next wait; `random` is drawn evenly from all of `u32`.
    pub fn next(&mut self, random: u32) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        let floor = (self.first / FLOOR_DIVISOR).min(ceiling);
        floor + ceiling.saturating_sub(floor).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// The longest that the next wait can be.
    pub fn ceiling(&self) -> Duration {
        let doubled = 2_u32.checked_pow(self.failures).and_then(|by| self.first.checked_mul(by));
        doubled.map_or(self.max, |ceiling| ceiling.min(self.max))
    }

    /// Starts over: something changed, so the past says nothing.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_up_to_the_last_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(5));
        for ceiling_s in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_eq!(backoff.next(u32::MAX), Duration::from_secs(ceiling_s));
        }
        for _ in 0..100 {
            backoff.next(0);
        }
        assert_eq!(backoff.next(u32::MAX), Duration::from_mins(5));
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX), Duration::from_secs(1));
    }

    #[test]
    fn a_wait_lies_between_floor_and_ceiling() {
        for random in [0, 1, u32::MAX / 2, u32::MAX - 1] {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(5));
            for _ in 0..12 {
                let ceiling = backoff.ceiling();
                let wait = backoff.next(random);
                assert!(wait >= Duration::from_millis(100) && wait <= ceiling, "{wait:?}");
            }
        }
    }
}
