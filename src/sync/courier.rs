//! The courier: the task of one sink. It does what reach and plan say and tells them what came of it.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::ahead::Ahead;
use super::complaint::{Complaint, Say};
use super::handle::{Inbox, Refusal, Request};
use super::network::{Changes, Sleep};
use super::plan::{Limits, Plan};
use super::reach::{Input, Reach, Step};
use super::{Config, probe};
use crate::model::rung::{Height, Rung};
use crate::model::status::ReachState;
use crate::model::stream::StreamId;
use crate::runtime::chance::random;
use crate::runtime::clock::Clock;
use crate::sink::{Identity, Sink};
use crate::spool::{Reader, Receipt, Spool, SpoolError};

pub(super) struct Courier<S> {
    pub(super) sink: S,
    pub(super) spool: Spool,
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) inbox: Inbox,
    /// For heads, cursors and leaves: reads of a few rows.
    pub(super) reader: Reader,
    /// For batches.
    pub(super) ahead: Ahead,
    pub(super) plan: Plan,
    pub(super) reach: Reach,
    /// What was set aside for this sink: goes as leaves only.
    pub(super) dead: HashMap<StreamId, BTreeSet<u64>>,
    /// A cursor that is being made durable while the next batch is under way.
    confirming: Option<(StreamId, u64, Receipt<()>)>,
    commits: watch::Receiver<u64>,
    network: Changes,
    sleep: Sleep,
    complaint: Complaint,
}

impl<S: Sink> Courier<S> {
    pub(super) async fn new(
        sink: S,
        spool: Spool,
        config: Config,
        inbox: Inbox,
        clock: Clock,
    ) -> Result<Self, SpoolError> {
        spool.enroll(inbox.name).await?;
        let limits =
            Limits { rows_max: config.batch_rows_max, rows_small: config.batch_rows_small };
        let mut commits = spool.commits();
        commits.mark_changed();
        Ok(Self {
            reader: spool.reader()?,
            ahead: Ahead::new(spool.reader()?, config.batch_bytes_max),
            plan: Plan::new(limits),
            reach: Reach::new(config.reach.clone()),
            dead: HashMap::new(),
            confirming: None,
            network: Changes::listen(),
            sleep: Sleep::new(clock.clone()),
            complaint: Complaint::default(),
            commits,
            sink,
            spool,
            config,
            clock,
            inbox,
        })
    }

    /// Works until `stop`.
    pub(super) async fn work(&mut self, stop: &CancellationToken) -> Result<(), SpoolError> {
        self.load_dead()?;
        while !stop.is_cancelled() {
            if self.sleep.slept() {
                self.note(Input::Network);
            }
            while let Ok(request) = self.inbox.requests.try_recv() {
                self.answer(request).await?;
            }
            self.look_for_stamps()?;
            match self.reach.step(Instant::now()) {
                Step::Rest(until) => self.rest(until, stop).await?,
                Step::Knock => self.knock(stop).await,
                Step::Climb => self.climb(stop).await?,
                Step::Deliver => self.deliver(false, stop).await?,
                Step::DeliverSmall => self.deliver(true, stop).await?,
            }
        }
        self.settle_confirmation().await
    }

    /// Lets go of the sink.
    pub(super) async fn close(&mut self) {
        self.sink.close(Instant::now() + self.config.close_grace).await;
    }

    /// Tells reach what happened, and others what became of it.
    pub(super) fn note(&mut self, input: Input) {
        let now = Instant::now();
        let was_open = self.reach.is_open();
        self.reach.on(input, now, random());
        let (name, state) = (self.inbox.name, self.reach.state());
        let reason = self.reach.reason();
        match self.complaint.about(state, now) {
            Say::Nothing => {}
            Say::Failing if state == ReachState::Offline => {
                tracing::info!(sink = name, reason, "offline; stamps wait in the spool");
            }
            Say::Failing => tracing::warn!(sink = name, ?state, reason, "cannot deliver"),
            Say::Restored => {
                tracing::info!(sink = name, queued = self.plan.queued(), "online again");
            }
        }
        if was_open && state != ReachState::Degraded {
            tracing::debug!(sink = name, ?state, "the road is {}", reason.unwrap_or("open"));
        }
        self.inbox.shown.send_if_modified(|shown| {
            let changed = shown.state != state || shown.reason.as_deref() != reason;
            shown.state = state;
            shown.reason = reason.map(str::to_owned);
            changed
        });
    }

    /// Takes into the plan what was committed since the last look.
    pub(super) fn look_for_stamps(&mut self) -> Result<(), SpoolError> {
        if self.commits.has_changed().unwrap_or(false) {
            self.commits.mark_unchanged();
            self.load_heads()?;
        }
        self.note(Input::Queued(self.plan.queued() > 0));
        Ok(())
    }

    pub(super) fn load_heads(&mut self) -> Result<(), SpoolError> {
        for head in self.reader.streams()? {
            let known = self.plan.knows(head.stream);
            let size = if known {
                self.plan.size(head.stream)
            } else {
                self.reader.cursor(self.inbox.name, head.stream)?
            };
            self.plan.extend(head.stream, size, head.size);
            if !known {
                self.show_size(head.stream, size);
            }
        }
        Ok(())
    }

    fn load_dead(&mut self) -> Result<(), SpoolError> {
        self.dead.clear();
        for stamp in self.reader.dead(self.inbox.name)? {
            self.dead.entry(stamp.stream).or_default().insert(stamp.seq);
        }
        Ok(())
    }

    /// Nothing is to be done: waits for a reason to do something.
    async fn rest(
        &mut self,
        until: Option<Instant>,
        stop: &CancellationToken,
    ) -> Result<(), SpoolError> {
        self.settle_confirmation().await?;
        // An open road that nobody uses is let go of: it costs the server a connection, and a client
        // library its wake-ups.
        let rests = until.is_none() && self.reach.is_fresh();
        let due = async {
            match until {
                Some(until) => sleep_until(until.into()).await,
                None if rests => sleep(self.config.idle_close).await,
                None => std::future::pending().await,
            }
        };
        // Each arm is cancel-safe: what it would have told is there to be told the next time.
        tokio::select! {
            () = stop.cancelled() => {}
            () = due => {
                if rests {
                    self.close().await;
                    self.note(Input::Rested);
                }
            }
            () = self.network.changed() => self.note(Input::Network),
            _ = self.commits.changed() => self.commits.mark_changed(),
            Some(request) = self.inbox.requests.recv() => self.answer(request).await?,
        }
        Ok(())
    }

    /// Tries the lower rungs alone.
    async fn knock(&mut self, stop: &CancellationToken) {
        let endpoints = self.sink.endpoints();
        let outcome = tokio::select! {
            () = stop.cancelled() => return,
            outcome = probe::climb(&endpoints) => outcome,
        };
        self.note(outcome.map_or_else(Input::Fell, |()| Input::Knocked));
    }

    /// Climbs the whole ladder with a fresh client.
    async fn climb(&mut self, stop: &CancellationToken) -> Result<(), SpoolError> {
        self.note(Input::Climbing);
        self.close().await;
        let rungs = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            rungs = self.climb_rungs() => rungs,
        };
        let outcome = match rungs {
            Ok(identity) => self.recognise(identity).await?,
            Err(rung) => Err(rung),
        };
        if let Err(rung) = outcome {
            self.close().await;
            self.note(Input::Fell(rung));
        } else {
            self.note(Input::Climbed);
        }
        Ok(())
    }

    async fn climb_rungs(&mut self) -> Result<Identity, Rung> {
        probe::climb(&self.sink.endpoints()).await?;
        let patience = self.config.probe_timeout;
        timeout(patience, self.sink.probe()).await.unwrap_or_else(|_| {
            let text = format!("the server is connected and silent for {}", seconds(patience));
            Err(Rung::retry(Height::Application, text))
        })
    }

    /// Compares who is at the other end with who was there at first contact.
    async fn recognise(&mut self, found: Identity) -> Result<Result<(), Rung>, SpoolError> {
        let name = self.inbox.name;
        let Some(pinned) = self.reader.pinned(name)? else {
            self.spool.pin(name, &found.0).await?;
            tracing::info!(sink = name, identity = found.0, "first contact; pinned");
            return Ok(Ok(()));
        };
        if pinned == found.0 {
            return Ok(Ok(()));
        }
        let text = format!(
            "another server answers: it is {}, and at first contact it was {pinned}; if it was \
             replaced on purpose, take [{name}] out of the config, run `stampd sync forget {name}` and \
             put it back: everything goes to the new one",
            found.0
        );
        Ok(Err(Rung::park(Height::Identity, text)))
    }

    async fn answer(&mut self, request: Request) -> Result<(), SpoolError> {
        match request {
            Request::Probe => self.note(Input::Nudge),
            Request::Retry { stream, seq, reply } => {
                let answer = self.retry_dead(stream, seq).await?;
                // Whoever asked may have gone.
                let _ = reply.send(answer);
            }
        }
        Ok(())
    }

    async fn retry_dead(
        &mut self,
        stream: StreamId,
        seq: u64,
    ) -> Result<Result<(), Refusal>, SpoolError> {
        let name = self.inbox.name;
        if !self.dead.get(&stream).is_some_and(|seqs| seqs.contains(&seq)) {
            return Ok(Err(Refusal(format!(
                "retry {stream}/{seq}: it is no dead letter of {name}"
            ))));
        }
        if !self.reach.is_fresh() {
            self.climb(&CancellationToken::new()).await?;
        }
        if !self.reach.is_open() {
            let reason = self.reach.reason().unwrap_or("it is being probed");
            return Ok(Err(Refusal(format!("ask {name}: {reason}"))));
        }
        let batch = self.reader.batch(stream, seq, 1, usize::MAX)?;
        let patience = self.config.deliver_timeout;
        match timeout(patience, self.sink.deliver(&batch)).await {
            Ok(Ok(_)) => {
                self.spool.revive(name, stream, seq).await?;
                self.load_dead()?;
                Ok(Ok(()))
            }
            Ok(Err(error)) => Ok(Err(Refusal(format!("deliver it to {name}: {error}")))),
            Err(_) => Ok(Err(Refusal(format!(
                "deliver it to {name}: no answer for {}",
                seconds(patience)
            )))),
        }
    }

    /// Makes a cursor durable while work goes on: if it is lost in a crash, the receiver knows what
    /// it has.
    pub(super) async fn confirm(&mut self, stream: StreamId, size: u64) -> Result<(), SpoolError> {
        self.settle_confirmation().await?;
        let receipt = self.spool.confirm(self.inbox.name, stream, size);
        self.confirming = Some((stream, size, receipt));
        Ok(())
    }

    /// Waits until the last cursor is durable, and only then shows it.
    pub(super) async fn settle_confirmation(&mut self) -> Result<(), SpoolError> {
        if let Some((stream, size, receipt)) = self.confirming.take() {
            receipt.await?;
            self.show_size(stream, size);
        }
        Ok(())
    }

    pub(super) fn show_size(&self, stream: StreamId, size: u64) {
        // Nobody is to wait for what has gone on in another stream.
        let size = if self.plan.is_over(stream) { u64::MAX } else { size };
        self.inbox.shown.send_modify(|shown| {
            shown.sizes.insert(stream, size);
        });
    }
}

/// Returns a while after the stop: what is under way may still end.
pub(super) async fn stopped_for(grace: Duration, stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(grace).await;
}

pub(super) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
