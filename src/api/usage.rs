//! How busy the process is, for the replies that tell.
//!
//! To ask for the processor's time is a system call that adds up all threads, so it is asked for seldom, and
//! requests in between are told the last answer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The time between two looks.
const EVERY: Duration = Duration::from_millis(100);

/// The process's use of the processor.
#[derive(Debug)]
pub(super) struct Usage {
    /// When it was looked at, and the processor's time then.
    looked: Mutex<(Instant, Duration)>,
    /// Between the last two looks, in percent, as the bits of a float.
    percent: AtomicU64,
}

impl Usage {
    /// Begins to look.
    pub(super) fn since(now: Instant) -> Self {
        Self { looked: Mutex::new((now, cpu_time())), percent: AtomicU64::new(0) }
    }

    /// Of one processor, in percent, between the last two looks.
    pub(super) fn percent(&self, now: Instant) -> f64 {
        // Whoever finds it taken is told what another one is about to replace.
        if let Ok(mut looked) = self.looked.try_lock()
            && now.saturating_duration_since(looked.0) >= EVERY
        {
            let used = cpu_time();
            let percent = percent_of(used.saturating_sub(looked.1), now - looked.0);
            self.percent.store(percent.to_bits(), Ordering::Relaxed);
            *looked = (now, used);
        }
        f64::from_bits(self.percent.load(Ordering::Relaxed))
    }
}

fn percent_of(used: Duration, passed: Duration) -> f64 {
    (used.as_secs_f64() / passed.as_secs_f64() * 100_000.0).round() / 1_000.0
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.try_into().expect("a clock that begins with the process is never negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_holds_for_a_while() {
        let begin = Instant::now();
        let usage = Usage::since(begin);
        let percent = |at| usage.percent(begin + at).to_bits();
        let enough = usage.looked.lock().unwrap().1 + Duration::from_millis(20);
        while cpu_time() < enough {}
        assert_eq!(percent(EVERY / 2), 0.0_f64.to_bits(), "nobody looked yet");
        let looked = percent(EVERY);
        assert!(f64::from_bits(looked) >= 20.0, "20 ms of 100, and what other threads used");
        assert_eq!(percent(EVERY + EVERY / 2), looked);
    }

    #[test]
    fn a_percentage_is_of_one_processor() {
        let percent = percent_of(Duration::from_micros(2_500), Duration::from_millis(1));
        assert_eq!(percent.to_bits(), 250.0_f64.to_bits());
    }
}
