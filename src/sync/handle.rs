//! The handle: how others see and speak to the task of a sink.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout_at;

use crate::model::status::{ReachState, SinkStatus};
use crate::model::stream::StreamId;
use crate::spool::{Reader, Spool, SpoolError};

/// Requests that may wait for the task; a caller beyond that waits too.
const REQUESTS_MAX: usize = 16;

/// Speaks to the task of one sink. Clones speak to the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    name: &'static str,
    shown: watch::Receiver<Shown>,
    requests: mpsc::Sender<Request>,
    spool: Spool,
    /// Opened at the first question, and read when somebody asks: the task itself counts nothing.
    reader: Arc<Mutex<Option<Reader>>>,
}

/// The task's end of a [`Handle`].
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) name: &'static str,
    pub(super) shown: watch::Sender<Shown>,
    pub(super) requests: mpsc::Receiver<Request>,
}

/// What the task shows. Written by the task, read by handles.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) state: ReachState,
    pub(super) reason: Option<String>,
    /// How much of each stream is confirmed, durably so.
    pub(super) sizes: BTreeMap<StreamId, u64>,
}

/// What the task can be asked for.
#[derive(Debug)]
pub(super) enum Request {
    /// Look at the road now.
    Probe,
    /// Deliver a dead letter once more.
    Retry { stream: StreamId, seq: u64, reply: oneshot::Sender<Result<(), Refusal>> },
}

/// Why something asked for was not done, as the text a person reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Makes both ends for the sink `name`.
pub(super) fn pair(name: &'static str, spool: &Spool) -> (Handle, Inbox) {
    let first = Shown { state: ReachState::Probing, reason: None, sizes: BTreeMap::new() };
    let (show, shown) = watch::channel(first);
    let (ask, requests) = mpsc::channel(REQUESTS_MAX);
    let handle =
        Handle { name, shown, requests: ask, spool: spool.clone(), reader: Arc::default() };
    (handle, Inbox { name, shown: show, requests })
}

impl Handle {
    /// The sink's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The state of the road and what waits. Reads a few rows of the spool; where it cannot be
    /// read, the reason says so.
    pub fn status(&self) -> SinkStatus {
        let (state, reason) = {
            let shown = self.shown.borrow();
            (shown.state, shown.reason.clone())
        };
        match self.read(|reader| spooled(self.name, reader)) {
            Ok(spooled) => SinkStatus { state, reason, ..spooled },
            Err(error) => SinkStatus {
                name: self.name.to_owned(),
                state,
                queued: 0,
                oldest: None,
                confirmed_at: None,
                reason: Some(format!("failed to {error}")),
                dead_letters: 0,
            },
        }
    }

    /// Waits until the sink has confirmed every stamp that is durable now.
    ///
    /// # Errors
    /// [`Refusal`] with the state and the reason when it has not by `deadline`.
    pub async fn wait_confirmed(&self, deadline: Option<Instant>) -> Result<(), Refusal> {
        let heads = self.read(Reader::streams);
        let wanted = heads.map_err(|error| Refusal(format!("failed to {error}")))?;
        self.probe_now().await;
        let mut shown = self.shown.clone();
        let confirmed = shown.wait_for(|shown| {
            wanted.iter().all(|head| shown.sizes.get(&head.stream).unwrap_or(&0) >= &head.size)
        });
        let in_time = match deadline {
            Some(deadline) => {
                timeout_at(deadline.into(), confirmed).await.is_ok_and(|end| end.is_ok())
            }
            None => confirmed.await.is_ok(),
        };
        if in_time { Ok(()) } else { Err(self.explain()) }
    }

    /// Lets the task look at the road now instead of when its wait is over.
    pub async fn probe_now(&self) {
        // A task that has ended looks at nothing any more.
        let _ = self.requests.send(Request::Probe).await;
    }

    /// Delivers a dead letter once more. When the sink takes it, it is one no more.
    ///
    /// # Errors
    /// [`Refusal`] with what the sink says, or why it could not be asked.
    pub async fn retry_dead(&self, stream: StreamId, seq: u64) -> Result<(), Refusal> {
        let stopping = || Refusal(format!("ask {}: the agent is stopping", self.name));
        let (reply, answer) = oneshot::channel();
        let request = Request::Retry { stream, seq, reply };
        self.requests.send(request).await.map_err(|_| stopping())?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Why not everything is confirmed.
    fn explain(&self) -> Refusal {
        let shown = self.shown.borrow();
        let state = match shown.state {
            ReachState::Disabled => "switched off",
            ReachState::Offline => "offline",
            ReachState::Probing => "being probed",
            ReachState::HalfOpen | ReachState::Online => "online and not done yet",
            ReachState::Degraded => "degraded",
            ReachState::Parked => "parked",
        };
        Refusal(match &shown.reason {
            Some(reason) => format!("{state}: {reason}"),
            None => state.to_owned(),
        })
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        // A reader holds no state that a panic could leave half changed.
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *reader {
            Some(reader) => work(reader),
            none => work(none.insert(self.spool.reader()?)),
        }
    }
}

/// The status of a sink that has no task: one that is switched off, or any without an agent.
///
/// # Errors
/// When the spool cannot be read.
pub fn spooled(name: &str, reader: &Reader) -> Result<SinkStatus, SpoolError> {
    Ok(SinkStatus {
        name: name.to_owned(),
        state: ReachState::Disabled,
        queued: reader.queued(name)?,
        oldest: reader.oldest(name)?,
        confirmed_at: reader.confirmed_at(name)?,
        reason: None,
        dead_letters: reader.dead(name)?.len() as u64,
    })
}
