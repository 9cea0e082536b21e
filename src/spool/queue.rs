//! The road to the writer: two bounded queues of work, and the receipts that come back.
//!
//! A receipt is fulfilled after the transaction that holds its work has been committed, never before.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use tokio::sync::oneshot;

use super::error::SpoolError;
use super::writer::Session;

/// Batches of observations that may wait. When they do, the tracker that brings the next one waits
/// too: hashing does not run away from the disk.
const APPENDS_MAX: usize = 32;

/// Orders of sinks and of the agent that may wait. Each waits for its receipt before it gives the
/// next, so this is never reached; it is apart so that no async task waits behind a full first queue.
const ORDERS_MAX: usize = 1_024;

/// What is to happen once the transaction is committed.
pub(super) type Acknowledge = Box<dyn FnOnce() + Send>;

type Work = Box<dyn FnOnce(&mut Session<'_>) -> Result<Acknowledge, SpoolError> + Send>;

/// One piece of work for the writer, inside its transaction.
pub(super) struct Task {
    /// An error of this is fatal: it rolls the transaction back and ends the writer.
    pub(super) work: Work,
}

/// Sends work to the writer. Written by every handle; the writer ends when all are dropped.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    appends: Sender<Task>,
    orders: Sender<Task>,
}

/// Where the writer takes its work from.
#[derive(Debug)]
pub(super) struct Queue {
    appends: Receiver<Task>,
    orders: Receiver<Task>,
}

/// Makes both ends.
pub(super) fn queue() -> (Sending, Queue) {
    let (appends, appends_taken) = bounded(APPENDS_MAX);
    let (orders, orders_taken) = bounded(ORDERS_MAX);
    (Sending { appends, orders }, Queue { appends: appends_taken, orders: orders_taken })
}

impl Sending {
    /// Queues work that makes stamps; waits while the queue is full.
    pub(super) fn append<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, SpoolError> + Send + 'static,
    ) -> Receipt<T> {
        send(&self.appends, work)
    }

    /// Queues any other work.
    pub(super) fn order<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, SpoolError> + Send + 'static,
    ) -> Receipt<T> {
        send(&self.orders, work)
    }
}

fn send<T: Send + 'static>(
    to: &Sender<Task>,
    work: impl FnOnce(&mut Session<'_>) -> Result<T, SpoolError> + Send + 'static,
) -> Receipt<T> {
    let (fulfil, receipt) = oneshot::channel();
    let work = move |session: &mut Session<'_>| -> Result<Acknowledge, SpoolError> {
        let outcome = match work(session) {
            Err(fatal) if !fatal.is_refusal() => return Err(fatal),
            outcome => outcome,
        };
        // Nobody waits for a receipt that was dropped.
        Ok(Box::new(move || drop(fulfil.send(outcome))))
    };
    // A writer that has ended drops the task, and with it `fulfil`: the receipt says so.
    drop(to.send(Task { work: Box::new(work) }));
    Receipt(receipt)
}

impl Queue {
    /// Waits for the next task; none when every handle is dropped and nothing is left.
    pub(super) fn next(&self) -> Option<Task> {
        self.try_next().or_else(|| {
            // Both ends are dropped together, but one may be found closed with work in the other.
            select! {
                recv(self.orders) -> task => task.or_else(|_| self.appends.recv()).ok(),
                recv(self.appends) -> task => task.or_else(|_| self.orders.recv()).ok(),
            }
        })
    }

    /// What is queued now, orders first: they are short, and a sink waits for them.
    pub(super) fn try_next(&self) -> Option<Task> {
        self.orders.try_recv().or_else(|_| self.appends.try_recv()).ok()
    }
}

/// The promise that work was handed to the writer. It is durable when, and only when, the receipt
/// says so.
#[derive(Debug)]
#[must_use = "what was handed over is durable only when its receipt says so"]
pub struct Receipt<T>(oneshot::Receiver<Result<T, SpoolError>>);

impl<T> Receipt<T> {
    /// Waits for it on a plain thread; tasks `.await` it instead.
    pub fn wait(self) -> Result<T, SpoolError> {
        self.0.blocking_recv().unwrap_or(Err(SpoolError::Stopped))
    }
}

impl<T> Future for Receipt<T> {
    type Output = Result<T, SpoolError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|got| got.unwrap_or(Err(SpoolError::Stopped)))
    }
}
