//! The stamping API over HTTP: routes, wire types and the wording of replies.
//!
//! One set of routes serves clients of four layouts: every JSON reply of a stamping route carries an
//! envelope and flat members, at the root and below [`PREFIX`]. Promises: a reply says what is held, never a
//! default in its place; a 200 for a stamp means that it is durable; of the same content any number
//! of times there is one stamp, and every caller gets that one; whatever a client sends, it gets a
//! problem with the right status, and its neighbours in a batch are stamped. Large bodies are bounded
//! all together.
//!
//! Leaves to others: what reaches the routes (`runtime::http`), what is held (`store`, `spool`), the
//! text of stamps (`model::onex_text`), when events are published (`outbox`).

mod auth;
mod backend;
mod call;
mod counts;
mod fields;
mod json;
pub mod limits;
mod order;
mod problem;
mod reply;
mod routes;
mod usage;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::Value;
use tokio::sync::Semaphore;

pub use self::backend::Backend;
pub(crate) use self::call::{CORRELATION, Call, return_id};
pub(crate) use self::fields::Fields;
pub(crate) use self::json::parse;
pub use self::problem::{Code, Problem, refuse};
pub(crate) use self::reply::{Reply, elapsed_ms, json_response};
pub use self::routes::streams;

use self::counts::Counts;
use self::routes::{batch, hash, health, metrics, namespace, protocol, root, stamp, validate};
use self::usage::Usage;
use crate::enrich::Enricher;
use crate::runtime::clock::Clock;
use crate::runtime::http::{Answers, Bearer};
use crate::runtime::metrics::Metrics;

/// Where the routes are, beside the root.
pub const PREFIX: &str = "/api/v1/metadata-stamping";

/// Large bodies that may be worked on at a time.
const SEATS: usize = 4;

/// Something that is being waited for.
pub type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Whether the event of an outbox row was delivered, told within a bounded time.
pub type Published = Arc<dyn Fn(i64) -> Waiting<bool> + Send + Sync>;

/// Looks at a part of the process that the API does not know itself.
pub type Probe = Arc<dyn Fn() -> Waiting<Component> + Send + Sync>;

/// How a part of the process does.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its name among the components.
    pub name: &'static str,
    /// Whether it does what it is there for.
    pub healthy: bool,
    /// Whether requests fail while it does not.
    pub vital: bool,
    /// What a person may want to know.
    pub details: Value,
}

/// What the routes work with.
pub struct State {
    backend: Backend,
    published: Option<Published>,
    streams: Option<streams::Streams>,
    probes: Vec<Probe>,
    token: Option<Bearer>,
    enricher: Option<Enricher>,
    metrics: Metrics,
    counts: Counts,
    clock: Clock,
    started: Instant,
    usage: Usage,
    seats: Arc<Semaphore>,
}

/// The state as every route has it: shared, since a copy for each layer of each request costs as much
/// as hashing a small content.
type Api = Arc<State>;

impl State {
    /// The routes' state over what holds the stamps.
    pub fn new(backend: Backend, metrics: &Metrics, clock: Clock) -> Self {
        let started = Instant::now();
        Self {
            backend,
            published: None,
            streams: None,
            probes: Vec::new(),
            token: None,
            enricher: None,
            counts: Counts::new(metrics),
            metrics: metrics.clone(),
            clock,
            started,
            usage: Usage::since(started),
            seats: Arc::new(Semaphore::new(SEATS)),
        }
    }

    /// Waits for events with `published`, for the word that is in a stamp's reply.
    pub fn publishing(mut self, published: Published) -> Self {
        self.published = Some(published);
        self
    }

    /// Takes streams of agents too, each agent known by a token of its own.
    pub fn ingesting(mut self, streams: streams::Streams) -> Self {
        self.streams = Some(streams);
        self
    }

    /// Answers only who brings the token. Health and metrics are told to everybody that the listener
    /// lets in.
    pub fn guarded(mut self, token: Bearer) -> Self {
        self.token = Some(token);
        self
    }

    /// Asks what is said of a content, for callers who want that.
    pub fn enriching(mut self, enricher: Enricher) -> Self {
        self.enricher = Some(enricher);
        self
    }

    /// Tells of one more part in the health routes.
    pub fn watching(mut self, probe: Probe) -> Self {
        self.probes.push(probe);
        self
    }
}

/// A stamping route: the operation's name, where it is, and what answers there.
type Route = (&'static str, &'static str, MethodRouter<Api>);

/// What answers: the routes, at the root and below [`PREFIX`].
///
/// Echoes the caller's id on whatever is replied, and counts what went wrong: around the router, since
/// each layer in it costs a request four allocations.
pub struct Stamping {
    router: Router,
    api: Api,
}

impl Stamping {
    /// The routes over this state.
    pub fn new(state: State) -> Self {
        let api = Arc::new(state);
        Self { router: router(Arc::clone(&api)), api }
    }
}

impl Answers for Stamping {
    async fn answer(&self, request: Request) -> Response {
        let id = request.headers().get(&CORRELATION).cloned();
        let mut response = self.router.answer(request).await;
        if let Some(code) = response.extensions().get::<Code>() {
            self.api.counts.failed(*code);
        }
        return_id(&mut response, id);
        response
    }
}

fn router(api: Api) -> Router {
    let mut stamping = Router::new();
    for (_, at, answers) in stamping_routes() {
        // Not nested: to strip a prefix costs every request a new address.
        stamping = stamping.route(at, answers.clone()).route(&format!("{PREFIX}{at}"), answers);
    }
    if let Some(token) = &api.token {
        stamping = stamping.route_layer(middleware::from_fn_with_state(token.clone(), admit));
    }
    for (at, answers) in told_to_all() {
        stamping = stamping.route(&at, answers);
    }
    stamping
        .merge(api.streams.clone().map(streams::router).unwrap_or_default())
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(api)
}

/// Every path that is served somewhere, for a contract to be held against.
pub fn paths() -> Vec<String> {
    let twice = |(_, at, _): &Route| [(*at).to_owned(), format!("{PREFIX}{at}")];
    let mut paths: Vec<String> = stamping_routes().iter().flat_map(twice).collect();
    paths.extend(told_to_all().into_iter().map(|(at, _)| at));
    paths.extend(streams::paths());
    paths
}

/// The stamping operations by the names under which they are counted, each with its route.
pub fn operations() -> [(&'static str, &'static str); 7] {
    stamping_routes().map(|(name, at, _)| (name, at))
}

/// The names of everything that the API counts, agents' streams included.
pub fn metric_names() -> BTreeSet<String> {
    let metrics = Metrics::new();
    let _ = Counts::new(&metrics);
    let _ = streams::Figures::new(&metrics);
    metrics.names()
}

/// What is served both at the root and below [`PREFIX`], to who brings the token.
fn stamping_routes() -> [Route; 7] {
    [
        ("hash", "/hash", post(hash::hash)),
        ("stamp", "/stamp", post(stamp::stamp)),
        ("get_stamp", "/stamp/{hash}", get(stamp::held)),
        ("validate", "/validate", post(validate::validate)),
        ("batch", "/batch", post(batch::batch)),
        ("validate_protocol", "/validate-protocol", post(protocol::validate)),
        ("namespace", "/namespace/{namespace}", get(namespace::page)),
    ]
}

/// What is told to everybody that the listener lets in.
fn told_to_all() -> [(String, MethodRouter<Api>); 9] {
    let prefixed = |at: &str| format!("{PREFIX}{at}");
    [
        ("/".to_owned(), get(root::root)),
        ("/health".to_owned(), get(health::flat)),
        ("/health/live".to_owned(), get(health::live)),
        ("/health/ready".to_owned(), get(health::ready)),
        ("/metrics".to_owned(), get(metrics::negotiated)),
        (prefixed("/health"), get(health::enveloped)),
        (prefixed("/health/live"), get(health::live)),
        (prefixed("/health/ready"), get(health::ready)),
        (prefixed("/metrics"), get(metrics::summary)),
    ]
}

/// What is said where there is no route.
pub(crate) async fn not_found() -> Problem {
    Problem::new(Code::NotFound, "there is no such route")
}

/// What is said of a method that a route does not take.
pub(crate) async fn not_allowed() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the route does not take this method")
}

/// Lets in who brings the token.
pub(crate) async fn admit(
    axum::extract::State(token): axum::extract::State<Bearer>,
    request: Request,
    next: Next,
) -> Response {
    if !token.admits(request.headers()) {
        let message = "send the token of this server: Authorization: Bearer …";
        return Problem::new(Code::Unauthorized, message).into_response();
    }
    next.run(request).await
}
