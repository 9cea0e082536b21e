//! The bridge: the stamping API over a record in PostgreSQL, with events on Kafka.
//!
//! Holds no logic of its own beyond the wiring: one listener, one desk that writes and reads the
//! record, the intake of agents' streams, one publisher, and a task that brings a blank database to the
//! schema. It keeps nothing on its own disk, and any number of bridges may share a record. The order of
//! a stop follows from who owns what: the listener lets running requests end and drops the router, the
//! router holds the last handle of the desk, and the desk's writer ends with it.

mod events;
mod figures;
mod schema;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::schema::Found;
use crate::api::streams::Streams;
use crate::api::{self, Backend, State};
use crate::enrich::{self, EnrichError};
use crate::model::namespace::Namespace;
use crate::model::stamp::Agent;
use crate::outbox::{self, Publisher};
use crate::runtime::clock::Clock;
use crate::runtime::http::{self, Bearer};
use crate::runtime::metrics::Metrics;
use crate::runtime::notify;
use crate::runtime::port::{self, BindError};
use crate::runtime::secret::{Secret, SecretError};
use crate::runtime::supervisor::Supervisor;
use crate::sink::kafka;
use crate::store;
use crate::store::address::{Address, AddressError};
use crate::store::ingest::Ingest;
use crate::store::stamps::{self, Desk};

/// The tenant of what the bridge says of its own stream.
const NAMESPACE: &str = "omninode.services.metadata";

/// Sessions with the database for agents' streams, and how long a piece waits for one.
const INGEST_SESSIONS: usize = 8;
const INGEST_PATIENCE: Duration = Duration::from_secs(30);

/// How long events come together where no request waits for them.
const GATHER: Duration = Duration::from_millis(10);

/// What the bridge is built from: each stage's part is that stage's own `Config`.
#[derive(Clone, Debug)]
pub struct Stages {
    /// The listener.
    pub http: http::Config,
    /// The token that callers must bring; none lets everybody in who reaches the listener.
    pub token: Option<Secret>,
    /// The record.
    pub postgres: store::Config,
    /// Where events go, if they go anywhere.
    pub kafka: Option<kafka::Config>,
    /// How long a reply waits for its event's delivery report.
    pub publish_wait: Duration,
    /// The intelligence service that is asked about contents, if there is one.
    pub intelligence: Option<enrich::Config>,
}

/// Why the bridge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The listener's address is taken or not ours.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The token cannot be had.
    #[error(transparent)]
    Token(#[from] SecretError),
    /// The address of the database is not usable.
    #[error(transparent)]
    Postgres(#[from] AddressError),
    /// The intelligence service cannot be asked.
    #[error(transparent)]
    Enrich(#[from] EnrichError),
}

/// The names of everything that a bridge counts.
pub fn metric_names() -> BTreeSet<String> {
    let metrics = Metrics::new();
    figures::register(&metrics);
    let own = metrics.names().into_iter();
    own.chain(api::metric_names()).chain(enrich::metric_names()).collect()
}

/// Starts every part of the bridge under `supervisor`, which is then to be run.
///
/// # Errors
/// When a part cannot start. That the database or Kafka is away is no error: both may come back.
pub async fn start(
    stages: Stages,
    clock: &Clock,
    supervisor: &mut Supervisor,
) -> Result<(), BridgeError> {
    let listener = port::bind(&stages.http.listen, "[api] listen").await?;
    let address = listener.local_addr().expect("a listener that is bound has an address");
    warn_of_open_door(&stages, address);
    let token = stages.token.clone().map(Bearer::open).transpose()?;
    let metrics = Metrics::new();
    let (tell, found) = watch::channel(Found::Unknown);
    let schema = start_schema(&stages, tell, address, supervisor);
    let publisher = start_publisher(&stages, clock, &schema, supervisor)?;
    let desk = start_desk(&stages, publisher.as_ref(), clock, &schema, supervisor)?;
    let streams = start_ingest(&stages, publisher.as_ref(), clock, &metrics)?;
    let mut state = State::new(Backend::Store(desk.clone()), &metrics, clock.clone())
        .ingesting(streams)
        .watching(schema::probe(found));
    if let Some(token) = token {
        state = state.guarded(token);
    }
    if let Some(config) = &stages.intelligence {
        // Files are the agents': there is nothing to ask ahead for.
        let (enricher, _) = enrich::new(config, &metrics)?;
        state = state.enriching(enricher);
    }
    if let Some(publisher) = &publisher {
        state = state.watching(events::probe(publisher.clone()));
        if !stages.publish_wait.is_zero() {
            state = state.publishing(events::published(publisher.clone(), stages.publish_wait));
        }
    }
    figures::start(desk, publisher, &metrics, supervisor);
    let http = http::Config { refuse: api::refuse, ..stages.http };
    let serving = http::serve(listener, api::Stamping::new(state), http, supervisor.token());
    supervisor.spawn("http listener", serving);
    tracing::info!(%address, "the stamping API is served");
    Ok(())
}

/// Brings a blank database to the schema, and reports READY when that was tried for the first time:
/// whether a database that is away comes back has no end to wait for. The token that is given back is
/// cancelled then too, for what would find a blank database unusable and wait before its next try.
fn start_schema(
    stages: &Stages,
    tell: watch::Sender<Found>,
    address: SocketAddr,
    supervisor: &mut Supervisor,
) -> CancellationToken {
    let tried = CancellationToken::new();
    let prepare = schema::prepare(stages.postgres.clone(), tell, tried.clone(), supervisor.token());
    supervisor.spawn_short("schema", prepare);
    let ready = tried.clone();
    supervisor.spawn_short("notice of readiness", async move {
        notify::ready_when(ready.cancelled()).await;
        notify::status(&format!("serving the stamping API on {address}"));
        Ok::<_, Infallible>(())
    });
    supervisor.spawn("watchdog", notify::accompany(supervisor.token()));
    tried
}

fn start_publisher(
    stages: &Stages,
    clock: &Clock,
    schema: &CancellationToken,
    supervisor: &mut Supervisor,
) -> Result<Option<Publisher>, BridgeError> {
    let Some(kafka) = stages.kafka.clone() else { return Ok(None) };
    let is_awaited = !stages.publish_wait.is_zero();
    let config = outbox::Config {
        clock: clock.clone(),
        gather: if is_awaited { Duration::ZERO } else { GATHER },
        ..outbox::Config::new(stages.postgres.clone(), kafka)
    };
    let (publisher, drain) = outbox::new(config)?;
    let (stop, schema) = (supervisor.token(), schema.clone());
    supervisor.spawn("publisher", after(schema, stop.clone(), drain.run(stop)));
    Ok(Some(publisher))
}

fn start_desk(
    stages: &Stages,
    publisher: Option<&Publisher>,
    clock: &Clock,
    schema: &CancellationToken,
    supervisor: &mut Supervisor,
) -> Result<Desk, BridgeError> {
    let namespace = NAMESPACE.parse::<Namespace>().expect("it has three words");
    let agent = Agent {
        // A bridge is what it does while it runs: it has no state that an identity could outlive.
        id: Uuid::new_v4().to_string(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        version: crate::VERSION.to_owned(),
    };
    let config = stamps::Config {
        clock: clock.clone(),
        outbox: publisher.map(Publisher::tray),
        ..stamps::Config::new(stages.postgres.clone(), agent, namespace)
    };
    let (desk, writers) = stamps::open(&config)?;
    for writer in writers {
        supervisor.spawn("desk", after(schema.clone(), supervisor.token(), writer.run()));
    }
    Ok(desk)
}

/// Agents' streams, each by a token of its own; they connect when the first piece comes.
fn start_ingest(
    stages: &Stages,
    publisher: Option<&Publisher>,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<Streams, BridgeError> {
    let address = Address::parse(&stages.postgres)?;
    let outbox = publisher.map(Publisher::tray);
    let ingest = Ingest::new(address, INGEST_SESSIONS, INGEST_PATIENCE, outbox);
    Ok(Streams::new(ingest, clock.clone(), metrics))
}

/// Begins `task` when the schema was looked at, or at the stop, which it then has to follow itself.
async fn after<T>(
    schema: CancellationToken,
    stop: CancellationToken,
    task: impl Future<Output = T>,
) -> T {
    tokio::select! {
        () = schema.cancelled() => {}
        () = stop.cancelled() => {}
    }
    task.await
}

fn warn_of_open_door(stages: &Stages, address: SocketAddr) {
    if stages.token.is_none() && !address.ip().is_loopback() {
        tracing::warn!(%address, "everybody who reaches this address may stamp: [api] auth is none");
    }
}
