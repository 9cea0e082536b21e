//! Sinks: the destinations of stamps behind one trait.
//!
//! A sink knows its protocol and how to tell an error's class. When to probe, what to send and what
//! becomes of an error is `sync`'s work.

pub mod bridge;
pub mod kafka;
pub mod postgres;
pub mod recording;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use crate::model::batch::Batch;
use crate::model::class::Class;
use crate::model::stream::Leaf;

pub use crate::model::rung::{Height, Rung};

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
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How TLS is spoken from the first byte, so that the ladder can climb that rung too; none
    /// where there is no TLS, or only after words in the sink's own protocol.
    pub tls: Option<Tls>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

/// Whom to trust in a TLS handshake.
#[derive(Clone)]
pub struct Tls(pub Arc<rustls::ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The config can hold a client's key.
        out.write_str("Tls")
    }
}

/// Who is at the other end: the value pinned at first contact (the ledger's id, the cluster's id).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(pub String);

/// What the receiver says after a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The length of the contiguous prefix that the receiver holds now: behind the batch when it
    /// knows less than was thought, beyond it when another road was faster.
    pub size: u64,
    /// The receiver's leaf at `size - 1`, where it says so. It is what tells a faster road from a
    /// fork when `size` lies beyond the batch.
    pub leaf: Option<Leaf>,
    /// Entries that were new to it.
    pub accepted: u64,
    /// Entries that it had already.
    pub duplicates: u64,
}

/// Why a batch was not delivered. Nothing of it counts as delivered, though a receiver may hold
/// some; what it holds already is a duplicate next time.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct SinkError {
    /// What failed, as the text a person reads.
    pub text: String,
    /// A code for dead letters and metrics: an SQLSTATE, a Kafka error name, an HTTP status.
    pub code: String,
    /// What is to be done about it.
    pub class: Class,
    /// The position at fault, where the receiver names it: it spares the search for it.
    pub seq: Option<u64>,
    /// The client library's own error.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl SinkError {
    /// An error of a class, with its code and the text a person reads.
    pub fn new(class: Class, code: impl Into<String>, text: impl Into<String>) -> Self {
        Self { text: text.into(), code: code.into(), class, seq: None, source: None }
    }

    /// Names the position at fault.
    pub fn at(mut self, seq: u64) -> Self {
        self.seq = Some(seq);
        self
    }

    /// Keeps the client library's own error.
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What is to be done about it.
    pub const fn class(&self) -> Class {
        self.class
    }
}
