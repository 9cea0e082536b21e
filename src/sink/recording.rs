//! A receiver in memory, for tests of whatever delivers: it appends as the record in Postgres does,
//! and fails on demand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Delivery, Endpoint, Identity, Sink, SinkError};
use crate::model::batch::{Batch, Entry};
use crate::model::class::Class;
use crate::model::rung::Rung;
use crate::model::stream::{Leaf, StreamId};

/// The far end. Clones are the same one; it outlives every client.
#[derive(Clone, Debug)]
pub struct Receiver(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    identity: String,
    streams: BTreeMap<StreamId, Vec<Entry>>,
    faults: VecDeque<Fault>,
    /// Why probes fail, if they do.
    closed: Option<Rung>,
    endpoints: Vec<Endpoint>,
    body_bytes_max: usize,
    deliveries: u64,
    clients: u64,
}

/// What goes wrong with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails before anything was taken.
    Refuse(Class),
    /// All of it is taken, and the answer is lost.
    LoseAnswer,
    /// Nothing happens any more.
    Hang,
}

impl Receiver {
    /// An empty receiver that calls itself `identity`.
    pub fn new(identity: &str) -> Self {
        Self(Arc::new(Mutex::new(State {
            identity: identity.to_owned(),
            streams: BTreeMap::new(),
            faults: VecDeque::new(),
            closed: None,
            endpoints: Vec::new(),
            body_bytes_max: usize::MAX,
            deliveries: 0,
            clients: 0,
        })))
    }

    /// A client of it.
    pub fn sink(&self) -> Recording {
        Recording { receiver: self.clone(), probed: false }
    }

    /// What it holds of a stream.
    pub fn held(&self, stream: StreamId) -> Vec<Entry> {
        self.lock().streams.get(&stream).cloned().unwrap_or_default()
    }

    /// How many deliveries were tried.
    pub fn deliveries(&self) -> u64 {
        self.lock().deliveries
    }

    /// How many clients are connected.
    pub fn clients(&self) -> u64 {
        self.lock().clients
    }

    /// Lets the next delivery fail; calls queue up.
    pub fn fail_next(&self, fault: Fault) {
        self.lock().faults.push_back(fault);
    }

    /// Lets every probe fail until it is opened.
    pub fn close_road(&self, rung: Rung) {
        self.lock().closed = Some(rung);
    }

    /// Lets probes hold again.
    pub fn open_road(&self) {
        self.lock().closed = None;
    }

    /// Where the road leads: the lower rungs are climbed there.
    pub fn lead_through(&self, endpoint: Endpoint) {
        self.lock().endpoints = vec![endpoint];
    }

    /// Rejects batches that hold a longer body.
    pub fn refuse_bodies_over(&self, bytes: usize) {
        self.lock().body_bytes_max = bytes;
    }

    /// Becomes what it was when it held `size` stamps of the stream.
    pub fn restore(&self, stream: StreamId, size: usize) {
        if let Some(held) = self.lock().streams.get_mut(&stream) {
            held.truncate(size);
        }
    }

    /// Becomes another one.
    pub fn rename(&self, identity: &str) {
        identity.clone_into(&mut self.lock().identity);
    }

    /// Takes a batch by another road.
    ///
    /// # Errors
    /// As a delivery would fail.
    pub fn take(&self, batch: &Batch) -> Result<Delivery, SinkError> {
        self.lock().append(batch)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// All or nothing, as one transaction does it.
    fn append(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        let too_long = |entry: &Entry| matches!(entry, Entry::Stamp(sealed) if sealed.body.len() > self.body_bytes_max);
        if batch.entries.iter().any(too_long) {
            return Err(SinkError::new(Class::Reject, "23514", "store a body: it is too long"));
        }
        let held = self.streams.entry(batch.stream).or_default();
        let size = held.len() as u64;
        if batch.first_seq > size {
            return Ok(delivery(held, 0, 0));
        }
        let known = usize::try_from(size - batch.first_seq).unwrap_or(usize::MAX);
        let known = known.min(batch.entries.len());
        let (old, new) = batch.entries.split_at(known);
        for (seq, entry) in (batch.first_seq..).zip(old) {
            let ours: &Leaf = held[seq as usize].leaf();
            if ours != entry.leaf() {
                let text = "another stamp is held under the same seq";
                return Err(SinkError::new(Class::Fork, "EQUIVOCATION", text).at(seq));
            }
            if let Entry::Stamp(_) = entry {
                held[seq as usize] = entry.clone();
            }
        }
        held.extend_from_slice(new);
        Ok(delivery(held, new.len(), old.len()))
    }
}

fn delivery(held: &[Entry], accepted: usize, duplicates: usize) -> Delivery {
    Delivery {
        size: held.len() as u64,
        leaf: held.last().map(|entry| *entry.leaf()),
        accepted: accepted as u64,
        duplicates: duplicates as u64,
    }
}

/// A client of a [`Receiver`].
#[derive(Debug)]
pub struct Recording {
    receiver: Receiver,
    probed: bool,
}

impl Recording {
    fn let_go(&mut self) {
        if std::mem::take(&mut self.probed) {
            self.receiver.lock().clients -= 1;
        }
    }
}

impl Sink for Recording {
    fn name(&self) -> &'static str {
        "recording"
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.receiver.lock().endpoints.clone()
    }

    async fn probe(&mut self) -> Result<Identity, Rung> {
        self.let_go();
        let mut state = self.receiver.lock();
        if let Some(rung) = &state.closed {
            return Err(rung.clone());
        }
        state.clients += 1;
        self.probed = true;
        Ok(Identity(state.identity.clone()))
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        if !self.probed {
            return Err(SinkError::new(Class::Park, "client", "deliver before a probe"));
        }
        let fault = {
            let mut state = self.receiver.lock();
            state.deliveries += 1;
            if state.closed.is_some() {
                return Err(SinkError::new(Class::Retry, "closed", "the road is closed"));
            }
            state.faults.pop_front()
        };
        match fault {
            None => self.receiver.lock().append(batch),
            Some(Fault::Refuse(class)) => Err(SinkError::new(class, "fault", "told to refuse")),
            Some(Fault::LoseAnswer) => {
                let taken = self.receiver.lock().append(batch);
                let lost = || SinkError::new(Class::Retry, "lost", "the answer was lost");
                taken.and_then(|_| Err(lost()))
            }
            Some(Fault::Hang) => std::future::pending().await,
        }
    }

    async fn close(&mut self, _: Instant) {
        self.let_go();
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rung::Height;

    #[test]
    fn a_client_is_counted_from_its_probe_to_its_close() {
        let receiver = Receiver::new("r");
        assert_eq!(receiver.clients(), 0);
        let mut sink = receiver.sink();
        receiver.close_road(Rung::retry(Height::Tcp, "closed"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        assert!(runtime.block_on(sink.probe()).is_err());
        receiver.open_road();
        assert_eq!(runtime.block_on(sink.probe()).expect("it holds"), Identity("r".to_owned()));
        assert_eq!(receiver.clients(), 1);
        drop(sink);
        assert_eq!(receiver.clients(), 0);
    }
}
