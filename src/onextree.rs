//! OnexTree: what the agent's index says of the repos' files, over HTTP, for programs that look for
//! files and for enrichment.
//!
//! It walks no directory: it keeps the paths of the spool's index in memory and follows the log.
//! Promises: what is durable when a question comes is in its answer; only configured repos are told
//! of, by paths relative to their roots; a question that leads elsewhere is refused in words that are
//! the same whatever is there. Nothing is held before the first question.
//!
//! Leaves to others: what reaches the routes (`runtime::http`), how a reply and a refusal are worded
//! (`api`), what is present (`spool`).

mod asked;
pub mod catalog;
mod counts;
mod live;
pub mod query;
pub mod relate;
mod routes;
pub mod words;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};

use self::counts::Counts;
use self::live::Live;
use self::routes::{find, generate, health, intelligence, knowledge, navigate, root, stats};
use crate::api::{CORRELATION, Code, admit, not_allowed, not_found, refuse, return_id};
use crate::model::status::RepoState;
use crate::runtime::http::{self, Bearer};
use crate::runtime::metrics::Metrics;
use crate::runtime::secret::Secret;
use crate::spool::{Reader, RepoId};

/// Bytes of a request's body: a question is short.
pub const BODY_BYTES_MAX: u64 = 64 * 1024;

/// Where OnexTree listens, and whom it answers.
#[derive(Clone, Debug)]
pub struct Config {
    /// The listener.
    pub http: http::Config,
    /// What callers must know, if anything.
    pub token: Option<Secret>,
}

impl Default for Config {
    fn default() -> Self {
        let http = http::Config {
            listen: "127.0.0.1:8058".to_owned(),
            body_bytes_max: BODY_BYTES_MAX,
            refuse,
            ..http::Config::default()
        };
        Self { http, token: None }
    }
}

/// Looks how a repo is seen just now.
pub type Seen = Arc<dyn Fn() -> RepoState + Send + Sync>;

/// A repo that is told of.
#[derive(Clone)]
pub struct Repo {
    /// Its name.
    pub name: String,
    /// Its root.
    pub root: PathBuf,
    /// Where the spool has it.
    pub id: RepoId,
    /// How it is seen.
    pub seen: Seen,
}

/// Looks which repos there are just now.
pub type Repos = Arc<dyn Fn() -> Vec<Repo> + Send + Sync>;

/// What the routes work with.
pub struct State {
    live: Arc<Live>,
    token: Option<Bearer>,
    metrics: Metrics,
    counts: Counts,
    started: Instant,
}

/// The state as every route has it.
type Tree = Arc<State>;

impl State {
    /// The routes' state over the index that `reader` reads.
    pub fn new(repos: Repos, reader: Reader, metrics: &Metrics) -> Self {
        let counts = Counts::new(metrics);
        let live = Arc::new(Live::new(repos, reader, &counts));
        Self { live, token: None, metrics: metrics.clone(), counts, started: Instant::now() }
    }

    /// Answers questions only of who brings the token. Health and metrics are told to everybody that
    /// the listener lets in.
    pub fn guarded(mut self, token: Bearer) -> Self {
        self.token = Some(token);
        self
    }
}

/// A route: where it is, and what answers there.
type Route = (&'static str, MethodRouter<Tree>);

/// The routes.
pub fn router(state: State) -> Router {
    let tree = Arc::new(state);
    let mut router = Router::new();
    for (at, answers) in guarded_routes() {
        router = router.route(at, answers);
    }
    if let Some(token) = &tree.token {
        router = router.route_layer(middleware::from_fn_with_state(token.clone(), admit));
    }
    for (at, answers) in open_routes() {
        router = router.route(at, answers);
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(&tree), attend))
        .with_state(tree)
}

/// The names of everything that OnexTree counts.
pub fn metric_names() -> BTreeSet<String> {
    let metrics = Metrics::new();
    let _ = Counts::new(&metrics);
    metrics.names()
}

/// The limits that the contract names, each with the name that it has there.
pub fn limits() -> [(&'static str, u64); 4] {
    [
        ("body_bytes_max", BODY_BYTES_MAX),
        ("query_bytes_max", query::QUERY_BYTES_MAX as u64),
        ("results", asked::LIMIT as u64),
        ("results_max", asked::LIMIT_MAX as u64),
    ]
}

/// What a question may be refused with, by its word.
pub const CODES: [Code; 10] = [
    Code::BadRequest,
    Code::ContentTooLarge,
    Code::DatabaseUnavailable,
    Code::Forbidden,
    Code::MethodNotAllowed,
    Code::NotFound,
    Code::RateLimited,
    Code::RequestTimeout,
    Code::Unauthorized,
    Code::ValidationError,
];

/// The paths where questions are answered.
pub fn questions() -> Vec<&'static str> {
    guarded_routes().into_iter().map(|(at, _)| at).collect()
}

/// Every path that is served somewhere, for a contract to be held against.
pub fn paths() -> Vec<&'static str> {
    guarded_routes().into_iter().chain(open_routes()).map(|(at, _)| at).collect()
}

fn guarded_routes() -> Vec<Route> {
    vec![
        ("/generate", post(generate::generate)),
        ("/query", post(find::query)),
        ("/stats", get(stats::stats)),
        ("/intelligence", post(intelligence::intelligence)),
        ("/knowledge/query", post(knowledge::query)),
        ("/tree/navigate", post(navigate::navigate)),
    ]
}

fn open_routes() -> Vec<Route> {
    vec![("/", get(root::root)), ("/health", get(health::health)), ("/metrics", get(root::metrics))]
}

/// Echoes the caller's id on whatever is replied, and counts what was asked and how it went.
async fn attend(
    axum::extract::State(tree): axum::extract::State<Tree>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request.headers().get(&CORRELATION).cloned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    return_id(&mut response, id);
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    tree.counts.answered(route, response.status().as_u16(), started);
    response
}
