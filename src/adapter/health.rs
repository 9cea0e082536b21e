//! `/health`, `/health/live`, `/health/ready` and `/metrics`.
//!
//! Live says that the process answers; ready that both servers are reached; health tells the rest,
//! and is 200 also when degraded, for whoever only looks whether somebody is there.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::view::{Report, View};
use crate::runtime::metrics::{MEDIA_TYPE, Metrics};

/// The paths, in the order of the contract.
pub const PATHS: [&str; 4] = ["/health", "/health/live", "/health/ready", "/metrics"];

struct Desk {
    group: String,
    metrics: Metrics,
    view: Arc<View>,
    started: Instant,
}

/// The routes.
pub(super) fn router(group: String, metrics: Metrics, view: Arc<View>) -> Router {
    let desk = Desk { group, metrics, view, started: Instant::now() };
    let [health, live, ready, metrics] = PATHS;
    Router::new()
        .route(health, get(tell))
        .route(live, get(async || json_of(StatusCode::OK, &json!({ "status": "alive" }))))
        .route(ready, get(tell_ready))
        .route(metrics, get(expose))
        .with_state(Arc::new(desk))
}

async fn tell(State(desk): State<Arc<Desk>>) -> Response {
    let report = desk.view.report();
    let word = if report.healthy { "healthy" } else { "degraded" };
    let body = json!({
        "status": word,
        "service": "stampd-adapter",
        "version": crate::VERSION,
        "uptime_seconds": desk.started.elapsed().as_secs_f64(),
        "components": components(&report),
        "consumer_group": desk.group,
        "partitions": report.partitions,
    });
    json_of(StatusCode::OK, &body)
}

async fn tell_ready(State(desk): State<Arc<Desk>>) -> Response {
    let report = desk.view.report();
    let (status, word) = if report.ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    json_of(status, &json!({ "status": word, "components": components(&report) }))
}

fn components(report: &Report) -> Value {
    let side = |reason: &Option<String>| {
        let word = if reason.is_none() { "healthy" } else { "unhealthy" };
        json!({ "status": word, "details": { "reason": reason } })
    };
    let breaker = if report.breaker == "closed" { "healthy" } else { "unhealthy" };
    json!({
        "kafka": side(&report.kafka),
        "postgres": side(&report.database),
        "dead_letters": side(&report.dead_letters),
        "pending_steps": side(&report.pending_steps),
        "circuit_breaker": { "status": breaker, "details": { "state": report.breaker } },
    })
}

async fn expose(State(desk): State<Arc<Desk>>) -> Response {
    ([(CONTENT_TYPE, MEDIA_TYPE)], desk.metrics.exposition()).into_response()
}

fn json_of(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
