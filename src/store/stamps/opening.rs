//! A connection in the making, for callers who wait less long for it than it may take.
//!
//! Whoever comes begins one. The first that was not ready in time is kept, and goes on; the next callers
//! begin their own beside it, since on a road that was dead and is back a new attempt is faster than an
//! old one's next packet. Whichever is ready first is taken.

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::timeout;

use crate::store::error::StoreError;

type Making<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// A connection in the making, if there is one.
pub(super) struct Opening<T>(Option<Making<T>>);

impl<T> Default for Opening<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Opening<T> {
    /// A connection, made by `fresh` or before; an error after `patience`, or when `fresh` fails.
    pub(super) async fn within(
        &mut self,
        patience: Duration,
        fresh: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut fresh: Making<T> = Box::pin(fresh);
        let first = async {
            tokio::select! {
                made = self.made() => Ok(made),
                made = &mut fresh => made,
            }
        };
        let made = timeout(patience, first).await;
        let Ok(made) = made else {
            self.0.get_or_insert(fresh);
            return Err(StoreError::Timeout(patience));
        };
        if made.is_ok() {
            self.0 = None;
        }
        made
    }

    /// Goes on with the one that was begun, until it is made; for ever when there is none. Cancel-safe.
    pub(super) async fn made(&mut self) -> T {
        if let Some(making) = &mut self.0 {
            let made = making.await;
            self.0 = None;
            if let Ok(made) = made {
                return made;
            }
        }
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(700);

    async fn after(wait: Duration, number: u32) -> Result<u32, StoreError> {
        sleep(wait).await;
        if number == 0 { Err(StoreError::Stopped) } else { Ok(number) }
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_than_a_caller_waits_comes_through_in_the_end() {
        let mut opening = Opening::default();
        let slow = Duration::from_millis(1_800);
        let begin = Instant::now();
        for number in [1, 2] {
            let refused = opening.within(PATIENCE, after(slow, number)).await;
            assert!(matches!(refused, Err(StoreError::Timeout(_))));
        }
        assert_eq!(begin.elapsed(), 2 * PATIENCE);
        assert_eq!(opening.within(PATIENCE, after(slow, 3)).await.unwrap(), 1, "the first one");
        assert_eq!(begin.elapsed(), slow);
        // It is taken: what comes next begins anew.
        assert_eq!(opening.within(PATIENCE, after(Duration::ZERO, 4)).await.unwrap(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_while_nobody_asks() {
        let mut opening = Opening::default();
        assert!(opening.within(PATIENCE, after(2 * PATIENCE, 1)).await.is_err());
        let begin = Instant::now();
        assert_eq!(opening.made().await, 1);
        assert_eq!(begin.elapsed(), PATIENCE);
        assert!(timeout(PATIENCE, opening.made()).await.is_err(), "there is none");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_holds_up_nobody_when_the_road_is_back() {
        let mut opening = Opening::default();
        assert!(opening.within(PATIENCE, pending()).await.is_err());
        let begin = Instant::now();
        assert_eq!(opening.within(PATIENCE, after(Duration::ZERO, 2)).await.unwrap(), 2);
        assert!(opening.within(PATIENCE, after(Duration::ZERO, 0)).await.is_err(), "said at once");
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
