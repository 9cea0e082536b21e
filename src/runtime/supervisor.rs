//! Long-lived tasks and threads by name: whichever ends first, by error, panic or early return, is
//! reported by that name, stops the rest, and makes the process fail.
//!
//! Only sources listen to the token. An inner stage ends when its input closes, so the order of a
//! stop follows from who owns which sender, and the supervisor need not know it.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::signal::Signals;

/// Any error, as a task gives it up.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Named tasks, and the token that asks them to stop.
#[derive(Debug)]
pub struct Supervisor {
    tasks: JoinSet<Result<(), Failure>>,
    names: HashMap<Id, Name>,
    token: CancellationToken,
    /// Unbounded, but holds at most one for each thread that was started.
    newcomers: mpsc::UnboundedReceiver<Newcomer>,
    nursery: Nursery,
}

/// A way to start threads under a supervisor that may run already; clones share it.
#[derive(Clone, Debug)]
pub struct Nursery(mpsc::UnboundedSender<Newcomer>);

/// A thread that was started under a running supervisor.
#[derive(Debug)]
struct Newcomer {
    name: Name,
    outcome: oneshot::Receiver<std::thread::Result<Result<(), Failure>>>,
}

impl Default for Supervisor {
    fn default() -> Self {
        let (sender, newcomers) = mpsc::unbounded_channel();
        Self {
            tasks: JoinSet::new(),
            names: HashMap::new(),
            token: CancellationToken::new(),
            newcomers,
            nursery: Nursery(sender),
        }
    }
}

#[derive(Clone, Debug)]
struct Name {
    text: String,
    /// Whether it may end before the stop.
    short: bool,
}

/// Why the process must exit with failure.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A task returned although nobody asked it to stop.
    #[error("keep {0} running: it ended by itself, which is a bug")]
    EndedEarly(String),
    /// A task failed.
    #[error("keep {name} running")]
    Failed {
        /// The task.
        name: String,
        /// What it said.
        source: Failure,
    },
    /// A task panicked.
    #[error("keep {name} running: it panicked, which is a bug: {message}")]
    Panicked {
        /// The task.
        name: String,
        /// The panic's message.
        message: String,
    },
    /// Not everything ended within the grace, or a second signal asked to wait no longer.
    #[error("stop in order ({why}): {} did not end", unfinished.join(", "))]
    Unfinished {
        /// What cut the stop short.
        why: String,
        /// The tasks that were still running.
        unfinished: Vec<String>,
    },
    /// A thread could not be started.
    #[error("start the thread {0}")]
    Thread(String, #[source] io::Error),
}

impl Supervisor {
    /// An empty supervisor.
    pub fn new() -> Self {
        Self::default()
    }

    /// The token that is cancelled when everything is to stop. For sources only.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Starts a task that is to run until the stop.
    pub fn spawn<F, E>(&mut self, name: impl Into<String>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Failure>,
    {
        self.start(Name { text: name.into(), short: false }, task);
    }

    /// Starts a task that may well end before the stop, but must not fail.
    pub fn spawn_short<F, E>(&mut self, name: impl Into<String>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Failure>,
    {
        self.start(Name { text: name.into(), short: true }, task);
    }

    /// Starts a thread that is to run until the stop, for work that blocks.
    pub fn spawn_thread<F, E>(&mut self, name: &str, work: F) -> Result<(), SupervisorError>
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
        E: Into<Failure> + 'static,
    {
        let outcome = start_thread(name, work)?;
        self.take_in(Newcomer { name: Name { text: name.to_owned(), short: false }, outcome });
        Ok(())
    }

    /// A way to start threads once [`Supervisor::run`] has taken this supervisor.
    pub fn nursery(&self) -> Nursery {
        self.nursery.clone()
    }

    fn take_in(&mut self, newcomer: Newcomer) {
        let Newcomer { name, outcome } = newcomer;
        self.start(name, async move {
            match outcome.await.expect("the thread sends whatever happens in it") {
                Ok(result) => result,
                // Panics on in the task: that is where panics are told from errors.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
    }

    fn start<F, E>(&mut self, name: Name, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Failure>,
    {
        let id = self.tasks.spawn(async move { task.await.map_err(Into::into) }).id();
        self.names.insert(id, name);
    }

    /// Waits for a signal or for the first task that should not have ended, then stops the rest
    /// within `grace`. A second signal ends the wait at once.
    ///
    /// # Errors
    /// The first failure by name; after a clean run, whatever kept the stop from being one.
    pub async fn run(
        mut self,
        mut signals: Signals,
        grace: Duration,
    ) -> Result<(), SupervisorError> {
        let first = self.until_stop(&mut signals).await;
        self.token.cancel();
        let stop = self.drain(&mut signals, grace).await;
        first.and(stop)
    }

    async fn until_stop(&mut self, signals: &mut Signals) -> Result<(), SupervisorError> {
        let token = self.token.clone();
        loop {
            // Every arm is cancel-safe: set, signals, token and channel keep what is not taken.
            tokio::select! {
                signal = signals.recv() => {
                    tracing::info!(signal, "stopping");
                    return Ok(());
                }
                () = token.cancelled() => return Ok(()),
                Some(newcomer) = self.newcomers.recv() => self.take_in(newcomer),
                Some(ended) = self.tasks.join_next_with_id() => self.judge(ended, false)?,
            }
        }
    }

    /// Waits for everything to end, at most for `grace`, or until another signal.
    async fn drain(
        &mut self,
        signals: &mut Signals,
        grace: Duration,
    ) -> Result<(), SupervisorError> {
        let started = Instant::now();
        let mut outcome = Ok(());
        loop {
            tokio::select! {
                // What was on its way when the stop began is waited for like the rest.
                biased;
                Some(newcomer) = self.newcomers.recv() => self.take_in(newcomer),
                ended = self.tasks.join_next_with_id() => match ended {
                    None => break,
                    Some(ended) => outcome = outcome.and(self.judge(ended, true)),
                },
                signal = signals.recv() => return self.cut_short(format!("second signal, {signal}")),
                () = tokio::time::sleep_until(started + grace) => {
                    return self.cut_short(format!("{} s grace", grace.as_secs_f32()));
                }
            }
        }
        tracing::info!(took_ms = started.elapsed().as_millis() as u64, "stopped");
        outcome
    }

    fn cut_short(&mut self, why: String) -> Result<(), SupervisorError> {
        let mut unfinished: Vec<_> = self.names.drain().map(|(_, name)| name.text).collect();
        unfinished.sort();
        Err(SupervisorError::Unfinished { why, unfinished })
    }

    /// Tells an end that was asked for from a failure.
    fn judge(
        &mut self,
        ended: Result<(Id, Result<(), Failure>), JoinError>,
        stopping: bool,
    ) -> Result<(), SupervisorError> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let name = self.names.remove(&id).expect("every task was given a name when it was spawned");
        match ended {
            Ok((_, Ok(()))) if stopping || name.short => Ok(()),
            Ok((_, Ok(()))) => Err(SupervisorError::EndedEarly(name.text)),
            Ok((_, Err(source))) => Err(SupervisorError::Failed { name: name.text, source }),
            Err(error) => {
                let message = error.try_into_panic().map_or_else(
                    |_| "it was cancelled".to_owned(),
                    |panic| message_of(panic.as_ref()),
                );
                Err(SupervisorError::Panicked { name: name.text, message })
            }
        }
        .inspect_err(|error| {
            tracing::error!(task = error.task(), "a task ended, stopping the rest");
        })
    }
}

impl Nursery {
    /// Starts a thread that may well end before the stop, but must not fail.
    pub fn spawn_thread<F, E>(&self, name: &str, work: F) -> Result<(), SupervisorError>
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
        E: Into<Failure> + 'static,
    {
        let outcome = start_thread(name, work)?;
        let name = Name { text: name.to_owned(), short: true };
        // A supervisor that has ended takes nobody in, and the process ends with it.
        let _ = self.0.send(Newcomer { name, outcome });
        Ok(())
    }
}

/// Starts a thread whose end, a panic too, comes out of the channel.
///
/// A thread of ours and not tokio's: a runtime waits for its blocking threads without end, and a stop
/// that is past its grace must not.
fn start_thread<F, E>(
    name: &str,
    work: F,
) -> Result<oneshot::Receiver<std::thread::Result<Result<(), Failure>>>, SupervisorError>
where
    F: FnOnce() -> Result<(), E> + Send + 'static,
    E: Into<Failure> + 'static,
{
    let (done, outcome) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work().map_err(Into::into)));
            // Nobody listens any more after a stop was cut short.
            let _ = done.send(outcome);
        })
        .map_err(|source| SupervisorError::Thread(name.to_owned(), source))?;
    Ok(outcome)
}

impl SupervisorError {
    /// The task at fault, where it is one.
    fn task(&self) -> Option<&str> {
        match self {
            Self::EndedEarly(name)
            | Self::Failed { name, .. }
            | Self::Panicked { name, .. }
            | Self::Thread(name, _) => Some(name),
            Self::Unfinished { .. } => None,
        }
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::sync::mpsc;

    use super::*;

    const GRACE: Duration = Duration::from_secs(20);

    /// Runs the supervisor with the given signals already sent.
    async fn run(supervisor: Supervisor, signals: &[&'static str]) -> Result<(), String> {
        let (sender, receiver) = mpsc::channel(2);
        for signal in signals {
            sender.try_send(*signal).unwrap();
        }
        supervisor.run(Signals::scripted(receiver), GRACE).await.map_err(|error| format!("{error}"))
    }

    fn spawn_obedient(supervisor: &mut Supervisor) {
        let token = supervisor.token();
        supervisor.spawn("obedient", async move {
            token.cancelled().await;
            Ok::<_, Infallible>(())
        });
    }

    fn spawn_stubborn(supervisor: &mut Supervisor) {
        supervisor.spawn("stubborn", std::future::pending::<Result<(), Infallible>>());
    }

    #[tokio::test]
    async fn a_signal_stops_what_listens_and_that_is_success() {
        let mut supervisor = Supervisor::new();
        spawn_obedient(&mut supervisor);
        let (input, inner) = std::sync::mpsc::channel::<()>();
        let token = supervisor.token();
        supervisor.spawn("source", async move {
            token.cancelled().await;
            drop(input);
            Ok::<_, Infallible>(())
        });
        supervisor
            .spawn_thread("inner stage", move || {
                inner.iter().for_each(drop);
                Ok::<_, Infallible>(())
            })
            .unwrap();
        assert_eq!(run(supervisor, &["SIGTERM"]).await, Ok(()));
    }

    #[tokio::test]
    async fn an_early_end_is_reported_by_name_and_stops_the_rest() {
        let mut supervisor = Supervisor::new();
        spawn_obedient(&mut supervisor);
        supervisor.spawn("clock", async { Ok::<_, Infallible>(()) });
        let error = run(supervisor, &[]).await.unwrap_err();
        assert_eq!(error, "keep clock running: it ended by itself, which is a bug");
    }

    #[tokio::test]
    async fn an_error_and_a_panic_are_reported_by_name() {
        let mut supervisor = Supervisor::new();
        spawn_obedient(&mut supervisor);
        supervisor.spawn("disk", async { Err("no space") });
        assert_eq!(run(supervisor, &[]).await.unwrap_err(), "keep disk running");

        let mut supervisor = Supervisor::new();
        spawn_obedient(&mut supervisor);
        supervisor
            .spawn_thread("writer", || -> Result<(), Infallible> { panic!("torn page {}", 7) })
            .unwrap();
        let error = run(supervisor, &[]).await.unwrap_err();
        assert_eq!(error, "keep writer running: it panicked, which is a bug: torn page 7");
    }

    #[tokio::test]
    async fn a_short_task_may_end_before_the_stop_but_not_fail() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn_short("greeting", async { Ok::<_, Infallible>(()) });
        spawn_obedient(&mut supervisor);
        assert_eq!(run(supervisor, &["SIGINT"]).await, Ok(()));

        let mut supervisor = Supervisor::new();
        supervisor.spawn_short("greeting", async { Err("mute") });
        spawn_obedient(&mut supervisor);
        assert_eq!(run(supervisor, &[]).await.unwrap_err(), "keep greeting running");
    }

    #[tokio::test]
    async fn a_thread_that_is_started_later_may_end_but_its_failure_stops_the_rest() {
        let mut supervisor = Supervisor::new();
        spawn_obedient(&mut supervisor);
        let (nursery, token) = (supervisor.nursery(), supervisor.token());
        let start = move || {
            nursery.spawn_thread("quick", || Ok::<_, Infallible>(())).unwrap();
            nursery.spawn_thread("torn", || Err("no space")).unwrap();
            tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
                .block_on(token.cancelled());
            Ok::<_, Infallible>(())
        };
        supervisor.spawn_thread("starter", start).unwrap();
        assert_eq!(run(supervisor, &[]).await.unwrap_err(), "keep torn running");
    }

    #[tokio::test]
    async fn what_outstays_the_grace_is_named() {
        let mut supervisor = Supervisor::new();
        spawn_stubborn(&mut supervisor);
        supervisor.token().cancel();
        let (_sender, receiver) = mpsc::channel(1);
        let outcome = supervisor.run(Signals::scripted(receiver), Duration::ZERO).await;
        let error = outcome.unwrap_err().to_string();
        assert_eq!(error, "stop in order (0 s grace): stubborn did not end");
    }

    #[tokio::test]
    async fn a_second_signal_ends_the_wait_at_once() {
        let mut supervisor = Supervisor::new();
        spawn_stubborn(&mut supervisor);
        let error = run(supervisor, &["SIGINT", "SIGINT"]).await.unwrap_err();
        assert_eq!(error, "stop in order (second signal, SIGINT): stubborn did not end");
    }
}
