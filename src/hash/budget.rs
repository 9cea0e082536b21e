//! A limit on bytes read per second, shared by all threads.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Debts below this are not slept off one by one: a sleep per small file would cost more than the
/// file.
const DEBT_MAX: Duration = Duration::from_millis(20);

/// How long a sleeper may overlook `stop`.
const SLICE: Duration = Duration::from_millis(50);

/// When the bytes read so far are paid for.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_per_second: NonZero<u64>,
    /// Moved on by every reader before its read.
    paid_at: Mutex<Instant>,
}

impl Budget {
    pub(super) fn new(bytes_per_second: NonZero<u64>) -> Self {
        Self { bytes_per_second, paid_at: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` may be read. False when `stop` was set meanwhile.
    pub(super) fn wait(&self, bytes: u64, stop: &AtomicBool) -> bool {
        let starts_at = self.reserve(bytes, Instant::now());
        loop {
            if stop.load(Ordering::Relaxed) {
                return false;
            }
            let left = starts_at.saturating_duration_since(Instant::now());
            if left <= DEBT_MAX {
                return true;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }

    /// Queues a read of `bytes` behind those before it and tells when it is due.
    fn reserve(&self, bytes: u64, now: Instant) -> Instant {
        let rate = u128::from(self.bytes_per_second.get());
        let nanos = u128::from(bytes) * 1_000_000_000 / rate;
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        // The lock guards one instant, which is valid whatever became of its last holder.
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let starts_at = (*paid_at).max(now);
        *paid_at = starts_at + cost;
        starts_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_queue_behind_each_other_and_idle_time_is_not_saved_up() {
        let budget = Budget::new(NonZero::new(1_000).expect("not zero"));
        let start = Instant::now() + Duration::from_secs(1);
        assert_eq!(budget.reserve(500, start), start);
        assert_eq!(budget.reserve(500, start), start + Duration::from_millis(500));
        let later = start + Duration::from_mins(1);
        assert_eq!(budget.reserve(1, later), later);
        assert_eq!(budget.reserve(1, later), later + Duration::from_millis(1));
    }

    #[test]
    fn a_stopped_reader_does_not_wait() {
        let budget = Budget::new(NonZero::<u64>::MIN);
        let stop = AtomicBool::new(true);
        assert!(!budget.wait(1 << 40, &stop));
        assert!(!budget.wait(1 << 40, &stop));
    }
}
