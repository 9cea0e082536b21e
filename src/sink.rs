//! Sinks: the destinations of stamps behind one trait.
//!
//! A sink knows its protocol and how to tell an error's class. When to probe, what to send and what
//! becomes of an error is `sync`'s work.

use std::future::Future;
use std::time::Instant;

use crate::model::batch::Batch;
use crate::model::class::Class;

/// A destination of stamps. The client object lives from [`probe`](Self::probe) to
/// [`close`](Self::close); outside of that a sink holds no socket and no thread.
pub trait Sink: Send + 'static {
    /// `postgres`, `kafka` or `bridge`: the name in status, cursors and metrics.
    fn name(&self) -> &'static str;

    /// Where the road leads, for the rungs below the sink's own: route, DNS, TCP and TLS.
    fn endpoints(&self) -> Vec<Endpoint>;

    /// Connects, proves who is at the other end and that it can take stamps.
    fn probe(&mut self) -> impl Future<Output = Result<Identity, Rung>> + Send;

    /// Delivers a batch. Cancel-safe: dropping the future abandons the batch, and delivering it
    /// again has no further effect.
    fn deliver(
        &mut self,
        batch: &Batch,
    ) -> impl Future<Output = Result<Delivery, SinkError>> + Send;

    /// Lets go of the client object, at `deadline` by force.
    fn close(&mut self, deadline: Instant) -> impl Future<Output = ()> + Send;
}

/// An address on the road to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether TLS is spoken from the first byte, so that the ladder can climb that rung too.
    pub tls: bool,
}

/// Who is at the other end: the value pinned at first contact (the ledger's id, the cluster's id).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(pub String);

/// The rung of the probe ladder that failed, as the text a person reads.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Rung {
    /// What failed and what to do about it.
    pub text: String,
    /// [`Class::Retry`] when it may pass by itself, [`Class::Park`] when it needs a person.
    pub class: Class,
}

/// What the receiver says after a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The length of the contiguous prefix that the receiver holds now: behind the batch when it
    /// knows less than was thought, beyond it when another road was faster.
    pub size: u64,
    /// Entries that were new to it.
    pub accepted: u64,
    /// Entries that it had already.
    pub duplicates: u64,
}

/// Why a batch was not delivered.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct SinkError {
    /// What failed, as the text a person reads.
    pub text: String,
    /// A code for dead letters and metrics: an SQLSTATE, a Kafka error name, an HTTP status.
    pub code: String,
    /// What is to be done about it.
    pub class: Class,
    /// The client library's own error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SinkError {
    /// What is to be done about it.
    pub const fn class(&self) -> Class {
        self.class
    }
}
