//! Kafka as a destination: one record per position of a stream, in order, keyed by the stream.
//!
//! Promises: what is confirmed is an unbroken prefix of delivery reports; a batch that was not
//! confirmed whole takes its client with it, so nothing it left behind can be sent after what comes
//! next. Kafka itself keeps no account of seqs: a batch that is sent again after a crash is on the
//! topic twice, and `ce_id` is what readers tell it by.
//!
//! No librdkafka object exists but between `probe` and `close`: on a closed road it spins.

mod client;
mod fault;
mod inspect;
mod poller;
mod producer;
mod reports;
mod rights;
mod settings;
mod versions;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use self::client::{Client, Creation, Lane, Outcome, Piece, Records};
pub use self::inspect::{Cluster, inspect};
pub use self::rights::rights;
pub use self::settings::road;
use super::{Delivery, Endpoint, Identity, Sink, SinkError, Tls};
use crate::model::batch::{Batch, Entry};
use crate::model::class::Class;
use crate::model::envelope::{Place, event, topic_name};
use crate::model::rung::{Height, Rung};
use crate::runtime::secret::Secret;

/// Records rendered at a time, while the ones before are being sent.
const CHUNK_ROWS: usize = 256;

/// How to reach the cluster, and which topic stamps go to.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` of brokers to begin with; the cluster names the rest.
    pub brokers: Vec<String>,
    /// The topic. What is before its first dot is the environment in the envelopes.
    pub topic: String,
    /// Whether and how the road is encrypted and who we are is proved.
    pub security: Security,
    /// How SASL proves who we are.
    pub mechanism: Mechanism,
    /// As whom, with SASL.
    pub username: Option<String>,
    /// With what, with SASL.
    pub password: Option<Secret>,
    /// Authorities to trust, in PEM; without it the machine's.
    pub ca_file: Option<PathBuf>,
    /// Speak without TLS to brokers that are not on loopback.
    pub allow_insecure: bool,
    /// How long a record waits for others to share a request with.
    pub linger: Duration,
    /// The most records that are on their way at once.
    pub in_flight_max: usize,
    /// How long without any progress until the client is given up.
    pub progress_timeout: Duration,
    /// How long with all brokers down until the client is given up.
    pub down_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            topic: topic_name("dev", "omninode_bridge", "onex"),
            security: Security::Plaintext,
            mechanism: Mechanism::ScramSha512,
            username: None,
            password: None,
            ca_file: None,
            allow_insecure: false,
            linger: Duration::from_millis(2),
            in_flight_max: 5_000,
            progress_timeout: Duration::from_mins(1),
            down_timeout: Duration::from_secs(3),
        }
    }
}

/// Whether and how the road is encrypted and who we are is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Neither.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL without TLS.
    SaslPlaintext,
    /// SASL within TLS.
    SaslSsl,
}

/// How SASL proves who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself.
    Plain,
    /// A proof of it, with SHA-256.
    ScramSha256,
    /// A proof of it, with SHA-512.
    ScramSha512,
}

/// The brokers of a config.
pub fn brokers(config: &Config) -> Vec<Endpoint> {
    endpoints(config, settings::tls(config).ok().flatten().as_ref())
}

fn endpoints(config: &Config, tls: Option<&Tls>) -> Vec<Endpoint> {
    let endpoint = |(host, port)| Endpoint { host, port, tls: tls.cloned() };
    let parsed = config.brokers.iter().filter_map(|broker| settings::host_port(broker));
    parsed.map(endpoint).collect()
}

/// A topic on a cluster.
pub struct Kafka {
    config: Config,
    place: Place,
    /// Made for the first climb and kept until the next, since it is asked for at each knock.
    tls: OnceLock<Option<Tls>>,
    /// Taken out for the time of each use: whatever ends in the middle leaves none.
    client: Option<Client>,
}

impl Kafka {
    /// Takes note of a config; connects to nothing.
    pub fn new(config: Config) -> Self {
        let environment = config.topic.split('.').next().unwrap_or_default().to_owned();
        let place = Place { environment, region: None };
        Self { config, place, tls: OnceLock::new(), client: None }
    }

    /// The client that a probe left, or a new one: a batch that was confirmed in part took its client
    /// with it.
    fn take_client(&mut self) -> Result<Client, SinkError> {
        if let Some(client) = self.client.take() {
            return Ok(client);
        }
        let settings = settings::client(&self.config)
            .map_err(|rung| SinkError::new(rung.class, "config", rung.text))?;
        Client::start(&settings, &self.config)
            .map_err(|text| SinkError::new(Class::Retry, "client", text))
    }

    /// Delivers parts of several streams at once, each in order.
    ///
    /// As with one batch, what is not confirmed whole takes the client with it.
    pub async fn deliver_all(&mut self, parts: &[Part<'_>]) -> Result<Sent, SinkError> {
        let gone = || SinkError::new(Class::Retry, "connection", "Kafka is not connected");
        let client = self.take_client()?;
        let Outcome { confirmed, error } = self.send(&client, parts).await.ok_or_else(gone)?;
        let each = || parts.iter().zip(&confirmed);
        let is_whole = each().all(|(part, &confirmed)| confirmed == part.entries().len());
        if is_whole {
            self.client = Some(client);
        }
        let error = error.or_else(|| {
            let rest = each().position(|(part, &confirmed)| confirmed < part.entries().len())?;
            Some((rest, gone()))
        });
        let sizes = each().map(|(part, &confirmed)| part.from + confirmed as u64).collect();
        Ok(Sent { sizes, error: error.filter(|_| !is_whole) })
    }

    /// Renders the parts piece by piece, while the client sends the pieces before.
    async fn send(&self, client: &Client, parts: &[Part<'_>]) -> Option<Outcome> {
        let lane = |part: &Part<'_>| Lane {
            key: part.batch.stream.to_string(),
            count: part.entries().len(),
        };
        let lanes = parts.iter().map(lane).collect();
        let records = Records { topic: self.config.topic.clone(), lanes };
        let mut pieces = parts.iter().enumerate().flat_map(|(lane, part)| self.pieces(lane, *part));
        let (mut feed, outcome) = client.deliver(records, pieces.next())?;
        for piece in pieces {
            if !feed.push(piece).await {
                // The client has come to its outcome early.
                break;
            }
        }
        drop(feed);
        outcome.await.ok()
    }

    fn pieces<'p>(&'p self, lane: usize, part: Part<'p>) -> impl Iterator<Item = Piece> + 'p {
        let stream = part.batch.stream;
        let firsts = (part.from..).step_by(CHUNK_ROWS);
        firsts.zip(part.entries().chunks(CHUNK_ROWS)).map(move |(first, entries)| {
            let events = (first..).zip(entries);
            let events = events.map(|(seq, entry)| event(stream, seq, entry, &self.place));
            Piece { lane, events: events.collect() }
        })
    }
}

/// A batch from one of its positions on.
#[derive(Clone, Copy, Debug)]
pub struct Part<'b> {
    /// The batch.
    pub batch: &'b Batch,
    /// The position of the first entry that goes.
    pub from: u64,
}

impl<'b> Part<'b> {
    fn entries(&self) -> &'b [Entry] {
        let passed = self.from.saturating_sub(self.batch.first_seq) as usize;
        self.batch.entries.get(passed..).unwrap_or_default()
    }
}

/// What became of parts.
#[derive(Debug)]
pub struct Sent {
    /// For each part the position up to which it is confirmed.
    pub sizes: Vec<u64>,
    /// When not all are confirmed whole: a part, and what became of its entry at that position.
    pub error: Option<(usize, SinkError)>,
}

impl Sink for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let tls = self.tls.get_or_init(|| settings::tls(&self.config).ok().flatten());
        endpoints(&self.config, tls.as_ref())
    }

    async fn probe(&mut self) -> Result<Identity, Rung> {
        self.client = None;
        let settings = settings::client(&self.config)?;
        let client = Client::start(&settings, &self.config)
            .map_err(|error| Rung::park(Height::Application, error))?;
        let mut answer = client.probe(&self.config.topic, false).await?;
        if answer.topic_is_missing {
            client::create_topic(&settings, &self.config.topic, Creation::ForGood).await?;
            answer = client.probe(&self.config.topic, true).await?;
        }
        self.client = Some(client);
        Ok(Identity(answer.cluster_id))
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<Delivery, SinkError> {
        let first = batch.first_seq;
        let Sent { sizes, error } = self.deliver_all(&[Part { batch, from: first }]).await?;
        let confirmed = sizes[0] - first;
        match error {
            Some((_, fault)) if confirmed == 0 && fault.class() == Class::Reject => {
                Err(fault.at(first))
            }
            Some((_, fault)) if confirmed == 0 => Err(fault),
            _ => Ok(Delivery {
                size: sizes[0],
                leaf: confirmed.checked_sub(1).map(|last| *batch.entries[last as usize].leaf()),
                accepted: confirmed,
                duplicates: 0,
            }),
        }
    }

    async fn close(&mut self, deadline: Instant) {
        self.tls = OnceLock::new();
        if let Some(client) = self.client.take() {
            client.close(deadline).await;
        }
    }
}
