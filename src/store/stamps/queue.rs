//! The queue before the writers of a desk, and how much of it one takes.
//!
//! A writer that is free takes what is waiting. Where many callers come at once it takes its share of
//! them: the first of those who were just answered is back before the others, and a transaction for
//! it alone would keep them waiting.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout_at};

use super::Job;

/// How long a writer waits for its share.
const WINDOW: Duration = Duration::from_millis(1);

/// Jobs, for several writers.
pub(super) struct Queue {
    jobs: Mutex<mpsc::Receiver<Job>>,
    /// The callers whom each writer served last.
    served: Vec<AtomicUsize>,
}

impl Queue {
    pub(super) fn new(jobs: mpsc::Receiver<Job>, writers: usize) -> Self {
        let served = (0..writers).map(|_| AtomicUsize::new(0)).collect();
        Self { jobs: Mutex::new(jobs), served }
    }

    /// Waits for jobs and takes those of one transaction, of about `orders_max` orders; none when the
    /// last desk is dropped.
    pub(super) async fn take(&self, writer: usize, orders_max: usize) -> Option<Vec<Job>> {
        let mut queue = self.jobs.lock().await;
        let mut job = queue.recv().await?;
        let deadline = Instant::now() + WINDOW;
        let share = share(self.served.iter().map(|served| served.load(Ordering::Relaxed)));
        let (mut jobs, mut orders) = (Vec::new(), 0);
        loop {
            orders += job.orders.len();
            jobs.push(job);
            if orders >= orders_max {
                break;
            }
            job = match queue.try_recv() {
                Ok(job) => job,
                Err(_) if jobs.len() >= share => break,
                Err(_) => match timeout_at(deadline, queue.recv()).await {
                    Ok(Some(job)) => job,
                    Ok(None) | Err(_) => break,
                },
            };
        }
        self.served[writer].store(jobs.len(), Ordering::Relaxed);
        Some(jobs)
    }
}

/// How many callers one of the writers should expect, of those who were there a moment ago.
fn share(served: impl ExactSizeIterator<Item = usize>) -> usize {
    let writers = served.len().max(1);
    served.sum::<usize>() / writers
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn caller() -> Job {
        Job { orders: Vec::new(), reply: oneshot::channel().0 }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_waits_for_nobody() {
        let (jobs, queue) = mpsc::channel(64);
        let queue = Queue::new(queue, 2);
        let begin = Instant::now();
        for request in 0..4 {
            jobs.try_send(caller()).unwrap();
            assert_eq!(queue.take(request % 2, 10).await.unwrap().len(), 1);
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_shared_out_and_one_that_went_away_is_forgotten() {
        let (jobs, queue) = mpsc::channel(64);
        let queue = Queue::new(queue, 2);
        let crowd = |size| (0..size).for_each(|_| jobs.try_send(caller()).unwrap());
        crowd(30);
        assert_eq!(queue.take(0, 100).await.unwrap().len(), 30);
        crowd(1);
        let rest = async {
            tokio::task::yield_now().await;
            crowd(14);
        };
        let begin = Instant::now();
        let (taken, ()) = tokio::join!(queue.take(1, 100), rest);
        assert_eq!((taken.unwrap().len(), begin.elapsed()), (15, Duration::ZERO));
        for writer in [0, 1, 0, 1] {
            crowd(1);
            assert_eq!(queue.take(writer, 100).await.unwrap().len(), 1);
        }
        assert!(begin.elapsed() <= 3 * WINDOW, "{:?}", begin.elapsed());
        drop(jobs);
        assert!(queue.take(0, 100).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_transaction_is_not_larger_than_it_may_be() {
        let (jobs, queue) = mpsc::channel(64);
        let queue = Queue::new(queue, 1);
        (0..9).for_each(|_| jobs.try_send(caller()).unwrap());
        assert_eq!(queue.take(0, 0).await.unwrap().len(), 1);
    }
}
