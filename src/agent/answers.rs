//! Answers: what the control socket is told. Status is answered at once; whoever waits for a scan or
//! a sync is answered when it is done, and keeps nobody else waiting.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::overview::Overview;
use super::roster::{Order, Orders};
use super::tracker::Command;
use super::view::View;
use crate::control::{self, Call, Listener, Refusal, Reply, Request};
use crate::model::status::RepoState;
use crate::runtime::supervisor::Supervisor;
use crate::spool::Spool;
use crate::sync;

/// Calls that may wait to be looked at; the socket makes a further caller wait.
const CALLS_MAX: usize = 64;

/// What answers are made from.
pub(super) struct Answers {
    pub(super) overview: Overview,
    pub(super) orders: Orders,
    pub(super) spool: Spool,
}

pub(super) fn start(answers: Answers, listener: Listener, supervisor: &mut Supervisor) {
    let (sender, calls) = mpsc::channel(CALLS_MAX);
    supervisor.spawn("control socket", control::serve(listener, sender, supervisor.token()));
    supervisor.spawn("answers", answers.run(calls));
}

impl Answers {
    /// Answers until the socket is closed.
    async fn run(self, mut calls: mpsc::Receiver<Call>) -> Result<(), Infallible> {
        let mut waiting = JoinSet::new();
        while let Some((request, reply)) = calls.recv().await {
            match request {
                Request::Status => drop(reply.send(self.status())),
                Request::Scan { repo } => self.scan(repo, reply, &mut waiting),
                Request::Sync { timeout_ms } => self.sync(timeout_ms, reply, &mut waiting),
                Request::DlqRetry { sink, stream, seq } => match self.sink(&sink) {
                    Ok(handle) => answer(&mut waiting, reply, async move {
                        done(handle.retry_dead(stream, seq).await)
                    }),
                    Err(refusal) => drop(reply.send(refusal)),
                },
                Request::Forget { sink } => self.forget(&sink, reply, &mut waiting),
                Request::Reload => drop(reply.send(self.reload())),
                Request::Add { repo } => self.orders.give(Order::Add(repo), reply),
                Request::Remove { repo } => self.orders.give(Order::Remove(repo), reply),
                Request::Pause { for_ms } => {
                    let span = for_ms.map(Duration::from_millis);
                    self.orders.give(Order::Pause(span), reply);
                }
                Request::Resume => self.orders.give(Order::Resume, reply),
            }
            // Finished answers are let go of; none of them fails.
            while waiting.try_join_next().is_some() {}
        }
        Ok(())
    }

    fn scan(&self, repo: Option<String>, reply: oneshot::Sender<Reply>, waiting: &mut JoinSet<()>) {
        let mut chosen = self.overview.roster.tracked();
        chosen.retain(|tracked| repo.as_ref().is_none_or(|name| *name == tracked.config.name));
        if chosen.is_empty() {
            let reason = match repo {
                Some(name) => format!("there is no repo {name:?}; `stampd status` lists them"),
                None => "no repo is configured; add a [[repo]] section".to_owned(),
            };
            return drop(reply.send(Reply::refused(Refusal::NotFound, reason)));
        }
        let mut scans = Vec::new();
        for tracked in chosen {
            let (done, outcome) = oneshot::channel();
            tracked.mailbox.send(Command::Scan(done));
            scans.push(Scan { name: tracked.config.name, view: tracked.view, outcome });
        }
        answer(waiting, reply, all_ended(scans));
    }

    fn sync(
        &self,
        timeout_ms: Option<u64>,
        reply: oneshot::Sender<Reply>,
        waiting: &mut JoinSet<()>,
    ) {
        let sinks = self.overview.sinks.clone();
        let deadline = timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        answer(waiting, reply, async move {
            // One after the other waits no longer than all at once: they deliver meanwhile.
            let mut unfinished = Vec::new();
            for sink in &sinks {
                let outcome = sink.wait_confirmed(deadline).await;
                unfinished.extend(outcome.err().map(|why| format!("{}: {why}", sink.name())));
            }
            if unfinished.is_empty() {
                Reply::Done
            } else {
                Reply::Unfinished { reason: unfinished.join("; ") }
            }
        });
    }

    fn forget(&self, sink: &str, reply: oneshot::Sender<Reply>, waiting: &mut JoinSet<()>) {
        if self.sink(sink).is_ok() {
            let reason = format!("{sink} is in use; remove [{sink}] from the config first");
            return drop(reply.send(Reply::refused(Refusal::Wrong, reason)));
        }
        let receipt = self.spool.forget(sink);
        answer(waiting, reply, async move { done(receipt.await) });
    }

    fn sink(&self, name: &str) -> Result<sync::Handle, Reply> {
        self.overview.sinks.iter().find(|sink| sink.name() == name).cloned().ok_or_else(|| {
            let reason =
                format!("the sink {name:?} is not in use; `stampd status` lists those that are");
            Reply::refused(Refusal::NotFound, reason)
        })
    }

    fn reload(&self) -> Reply {
        let told =
            self.overview.roster.tracked().iter().all(|repo| repo.mailbox.send(Command::Reload));
        let busy = || Reply::Unfinished { reason: "the agent is busy; try again".to_owned() };
        if told { Reply::Done } else { busy() }
    }

    fn status(&self) -> Reply {
        match self.overview.status() {
            Ok(status) => Reply::Status(Box::new(status)),
            Err(error) => Reply::Unfinished { reason: format!("failed to {error}") },
        }
    }
}

/// A scan of one repo that was asked for.
struct Scan {
    name: String,
    view: View,
    outcome: oneshot::Receiver<()>,
}

impl Scan {
    /// Returns when every difference is durable, or why that cannot be.
    async fn ended(self) -> Result<(), String> {
        let outcome = self.outcome.await;
        let shown = self.view.snapshot();
        // A tracker that pauses, ends or is too busy drops its end.
        if outcome.is_err() {
            let reason = shown.reason.unwrap_or_else(|| "it is watched no longer".to_owned());
            return Err(format!("{}: {reason}", self.name));
        }
        if shown.state == RepoState::Absent {
            let reason = shown.reason.unwrap_or_default();
            return Err(format!("{} is absent: {reason}", self.name));
        }
        Ok(())
    }
}

/// Waits for all of them, whatever becomes of one: a repo that is absent does not keep what differs
/// in another from being durable.
async fn all_ended(scans: Vec<Scan>) -> Reply {
    let mut unfinished = Vec::new();
    for scan in scans {
        unfinished.extend(scan.ended().await.err());
    }
    if unfinished.is_empty() {
        Reply::Done
    } else {
        Reply::Unfinished { reason: unfinished.join("; ") }
    }
}

fn answer(
    waiting: &mut JoinSet<()>,
    reply: oneshot::Sender<Reply>,
    work: impl Future<Output = Reply> + Send + 'static,
) {
    waiting.spawn(async move {
        // Whoever hung up meanwhile needs no answer.
        let _ = reply.send(work.await);
    });
}

fn done<T, E: std::error::Error>(outcome: Result<T, E>) -> Reply {
    match outcome {
        Ok(_) => Reply::Done,
        Err(error) => Reply::refused(Refusal::Wrong, format!("failed to {error}")),
    }
}
