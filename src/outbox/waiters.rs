//! Who waits for which row of the outbox.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::lock;

/// Rows that were confirmed before anyone asked: as many as a request can lie behind.
const RECENT_MAX: usize = 65_536;

/// Requests that wait, and what was confirmed lately. Requests add themselves, the publisher's task
/// answers them.
#[derive(Default)]
pub(super) struct Waiters(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: HashMap<i64, Vec<oneshot::Sender<bool>>>,
    recent: HashSet<i64>,
    /// The members of `recent`, the oldest first.
    order: VecDeque<i64>,
}

impl Waiters {
    /// Whether a row is known to be confirmed.
    pub(super) fn is_confirmed(&self, row: i64) -> bool {
        lock(&self.0).recent.contains(&row)
    }

    /// Waits until a row is confirmed, at most for `wait`.
    pub(super) async fn confirmed(&self, row: i64, wait: Duration) -> bool {
        let answer = {
            let mut state = lock(&self.0);
            if state.recent.contains(&row) {
                return true;
            }
            let (waiter, answer) = oneshot::channel();
            state.waiting.entry(row).or_default().push(waiter);
            answer
        };
        if let Ok(answer) = timeout(wait, answer).await {
            return answer.unwrap_or(false);
        }
        let mut state = lock(&self.0);
        if let Some(waiting) = state.waiting.get_mut(&row) {
            waiting.retain(|waiter| !waiter.is_closed());
            if waiting.is_empty() {
                state.waiting.remove(&row);
            }
        }
        state.recent.contains(&row)
    }

    /// The broker has confirmed all of a row.
    pub(super) fn confirm(&self, row: i64) {
        let mut state = lock(&self.0);
        for waiter in state.waiting.remove(&row).into_iter().flatten() {
            // Who went away does not need the answer.
            let _ = waiter.send(true);
        }
        if state.recent.insert(row) {
            state.order.push_back(row);
        }
        if state.order.len() > RECENT_MAX
            && let Some(oldest) = state.order.pop_front()
        {
            state.recent.remove(&oldest);
        }
    }

    /// Nobody will be told more about anything for now.
    pub(super) fn disappoint(&self) {
        for waiter in lock(&self.0).waiting.drain().flat_map(|(_, waiting)| waiting) {
            let _ = waiter.send(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_row_is_confirmed_before_or_while_someone_waits() {
        let waiters = Waiters::default();
        waiters.confirm(1);
        assert!(waiters.confirmed(1, LONG).await);
        let (told, ()) = tokio::join!(waiters.confirmed(2, LONG), async { waiters.confirm(2) });
        assert!(told);
    }

    #[tokio::test]
    async fn nobody_is_told_yes_without_a_confirmation_and_nobody_is_kept() {
        let waiters = Waiters::default();
        assert!(!waiters.confirmed(1, Duration::ZERO).await);
        assert!(lock(&waiters.0).waiting.is_empty());
        let (told, ()) = tokio::join!(waiters.confirmed(2, LONG), async { waiters.disappoint() });
        assert!(!told);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let waiters = Waiters::default();
        for row in 0..=RECENT_MAX as i64 {
            waiters.confirm(row);
        }
        assert!(!waiters.is_confirmed(0) && waiters.is_confirmed(1));
        assert_eq!(lock(&waiters.0).recent.len(), RECENT_MAX);
    }
}
