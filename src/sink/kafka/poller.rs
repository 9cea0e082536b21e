//! The thread that takes librdkafka's reports in while records are under way.
//!
//! `BaseProducer::poll` waits in whole milliseconds, and goes in a circle over what is left of the last one:
//! a short wait is a busy one, and a long one comes back long after the report for which it waited. So one
//! thread waits long, where each report is taken the moment it comes, and whoever wants to know sleeps until
//! the reports say so.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rdkafka::producer::BaseProducer;

use super::reports::Reports;

/// One wait; also how long the thread may take to end.
const WAIT: Duration = Duration::from_millis(100);

/// The thread; it ends when this is dropped.
pub(super) struct Poller {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    task: Mutex<Task>,
    changed: Condvar,
}

/// What the thread is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Task {
    #[default]
    Rest,
    Poll,
    End,
}

/// Lets the thread poll for as long as it is held.
pub(super) struct Polling<'a>(&'a Shared);

impl Poller {
    /// Starts the thread, at rest.
    pub(super) fn start(producer: Arc<BaseProducer<Reports>>) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let tasks = Arc::clone(&shared);
        let poll = move || {
            while tasks.next() == Task::Poll {
                producer.poll(WAIT);
            }
        };
        let thread = Builder::new().name("kafka-poll".to_owned()).spawn(poll)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Takes reports in until the answer is dropped.
    pub(super) fn poll(&self) -> Polling<'_> {
        self.shared.set(Task::Poll);
        Polling(&self.shared)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Task> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, task: Task) {
        *self.lock() = task;
        self.changed.notify_one();
    }

    /// Waits until there is something to do.
    fn next(&self) -> Task {
        let awake = self.changed.wait_while(self.lock(), |task| *task == Task::Rest);
        *awake.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.set(Task::Rest);
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.shared.set(Task::End);
        if let Some(thread) = self.thread.take() {
            // A panic there was told already, and nothing is left to be saved.
            let _ = thread.join();
        }
    }
}
