//! Whether the database may be tried now: quick retries, then a breaker, by the contract's numbers.
//!
//! A batch that fails for a passing reason is tried again three times, each wait 1.5 times as long
//! as the one before. Five failures in a row open the breaker for 30 seconds, in which nothing is
//! tried. Then three probes are let through: two that succeed close it, two that fail open it again.
//! What fails for its content is the record's fault and is never counted.
//!
//! Pure: it is given `now`.

use std::time::{Duration, Instant};

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Retries of a batch before it counts as one that has to wait its turn.
    pub retries: u32,
    /// The wait before the first retry.
    pub backoff_first: Duration,
    /// How much longer each wait is than the one before.
    pub backoff_factor: f64,
    /// Failures in a row that open the breaker.
    pub failures: u32,
    /// How long it stays open.
    pub open_for: Duration,
    /// Probes of a half-open breaker.
    pub probes: u32,
    /// Those of them that must succeed.
    pub successes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            retries: 3,
            backoff_first: Duration::from_millis(200),
            backoff_factor: 1.5,
            failures: 5,
            open_for: Duration::from_secs(30),
            probes: 3,
            successes: 2,
        }
    }
}

/// Where the breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything passes.
    Closed,
    /// Probes pass.
    HalfOpen,
    /// Nothing passes.
    Open,
}

impl State {
    /// The word for it in health and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }

    /// The number for it in `circuit_breaker_state`.
    pub const fn as_number(self) -> f64 {
        match self {
            Self::Closed => 0.0,
            Self::HalfOpen => 1.0,
            Self::Open => 2.0,
        }
    }
}

/// The breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: Config,
    inner: Inner,
    /// When the next attempt may be made.
    next: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Inner {
    Closed { failures: u32 },
    Open,
    HalfOpen { successes: u32, failures: u32 },
}

impl Breaker {
    /// A closed breaker.
    pub const fn new(config: Config) -> Self {
        Self { config, inner: Inner::Closed { failures: 0 }, next: None }
    }

    /// Where it stands.
    pub const fn state(&self) -> State {
        match self.inner {
            Inner::Closed { .. } => State::Closed,
            Inner::Open => State::Open,
            Inner::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Whether an attempt may be made now. An open breaker whose time is over becomes half open.
    pub fn admits(&mut self, now: Instant) -> bool {
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.next = None;
        if matches!(self.inner, Inner::Open) {
            self.inner = Inner::HalfOpen { successes: 0, failures: 0 };
        }
        true
    }

    /// How long until an attempt may be made.
    pub fn wait(&self, now: Instant) -> Duration {
        self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    /// An attempt succeeded.
    pub const fn succeeded(&mut self) {
        self.next = None;
        self.inner = match self.inner {
            Inner::HalfOpen { successes, failures } if successes + 1 < self.config.successes => {
                Inner::HalfOpen { successes: successes + 1, failures }
            }
            _ => Inner::Closed { failures: 0 },
        };
    }

    /// An attempt failed for a passing reason, for the `attempt`th time in a row, counted from 1.
    pub fn failed(&mut self, attempt: u32, now: Instant) {
        self.inner = match self.inner {
            Inner::Closed { failures } if failures + 1 < self.config.failures => {
                Inner::Closed { failures: failures + 1 }
            }
            // As long as enough of the probes that are left can still succeed.
            Inner::HalfOpen { successes, failures }
                if failures + 1 + self.config.successes <= self.config.probes =>
            {
                Inner::HalfOpen { successes, failures: failures + 1 }
            }
            _ => Inner::Open,
        };
        self.next = Some(now + self.pause(attempt));
    }

    fn pause(&self, attempt: u32) -> Duration {
        if matches!(self.inner, Inner::Open) {
            return self.config.open_for;
        }
        // Beyond the retries the wait grows no more: the breaker is what gives the database its rest.
        let steps = attempt.clamp(1, self.config.retries) - 1;
        self.config.backoff_first.mul_f64(self.config.backoff_factor.powi(steps.cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_failed_batch_is_tried_again_after_waits_that_grow_by_half() {
        let (mut breaker, now) = (Breaker::new(Config::default()), Instant::now());
        let waits: Vec<Duration> = (1..=4)
            .map(|attempt| {
                breaker.failed(attempt, now);
                breaker.wait(now)
            })
            .collect();
        assert_eq!(waits, [ms(200), ms(300), ms(450), ms(450)]);
        assert!(!breaker.admits(now + ms(449)));
        assert!(breaker.admits(now + ms(450)));
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn five_failures_in_a_row_open_it_for_thirty_seconds() {
        let (mut breaker, mut now) = (Breaker::new(Config::default()), Instant::now());
        for attempt in 1..=4 {
            breaker.failed(attempt, now);
        }
        breaker.succeeded();
        for attempt in 1..=5 {
            assert_eq!(breaker.state(), State::Closed);
            breaker.failed(attempt, now);
        }
        assert_eq!(breaker.state(), State::Open);
        now += ms(29_999);
        assert!(!breaker.admits(now));
        now += ms(1);
        assert!(breaker.admits(now));
        assert_eq!(breaker.state(), State::HalfOpen);
    }

    fn half_open() -> (Breaker, Instant) {
        let (mut breaker, mut now) = (Breaker::new(Config::default()), Instant::now());
        (1..=5).for_each(|attempt| breaker.failed(attempt, now));
        now += Duration::from_secs(30);
        assert!(breaker.admits(now));
        (breaker, now)
    }

    fn probe(breaker: &mut Breaker, succeeds: bool, now: Instant) {
        if succeeds {
            breaker.succeeded();
        } else {
            breaker.failed(1, now);
        }
    }

    #[test]
    fn two_of_three_probes_decide() {
        let check = |outcomes: &[bool], expected: State| {
            let (mut breaker, mut now) = half_open();
            for success in outcomes {
                assert_eq!(breaker.state(), State::HalfOpen, "{outcomes:?}");
                probe(&mut breaker, *success, now);
                now += breaker.wait(now);
            }
            assert_eq!(breaker.state(), expected, "{outcomes:?}");
        };
        check(&[true, true], State::Closed);
        check(&[true, false, true], State::Closed);
        check(&[false, true, true], State::Closed);
        check(&[false, false], State::Open);
        check(&[true, false, false], State::Open);
        check(&[true], State::HalfOpen);
    }
}
