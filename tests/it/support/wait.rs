//! Waiting for facts.
//!
//! The one place in the tests that sleeps: between two looks at a fact. A deadline is generous,
//! since it only bounds how long a broken build takes to say so; no test asserts a duration.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for the slowest machine under the heaviest load.
pub const DEADLINE: Duration = Duration::from_secs(90);

const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `look` sees something and returns it.
///
/// # Panics
/// After [`DEADLINE`], naming the fact.
pub fn wait_for<T>(fact: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(DEADLINE, fact, look)
}

/// Waits until `holds`.
pub fn wait_until(fact: &str, mut holds: impl FnMut() -> bool) {
    wait_within(DEADLINE, fact, || holds().then_some(()));
}

/// [`wait_for`] with another deadline.
pub fn wait_within<T>(deadline: Duration, fact: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < deadline, "after {deadline:?} still not: {fact}");
        sleep(PAUSE);
    }
}

/// Gives a person the time to read.
pub fn rest(time: Duration) {
    sleep(time);
}

/// [`wait_for`] where the look is a future, for tests that run on tokio.
pub async fn wait_for_async<T>(fact: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(start.elapsed() < DEADLINE, "after {DEADLINE:?} still not: {fact}");
        tokio::time::sleep(PAUSE).await;
    }
}
