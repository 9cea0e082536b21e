//! `GET /` and `GET /metrics`: what this is, and what it counted.

use axum::extract;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::api::json_response;
use crate::onextree::Tree;
use crate::runtime::metrics::MEDIA_TYPE;

/// What this is.
pub(in crate::onextree) async fn root() -> Response {
    let body =
        json!({"service": "stampd-onextree", "version": crate::VERSION, "status": "running"});
    json_response(&body)
}

/// Prometheus' text.
pub(in crate::onextree) async fn metrics(extract::State(tree): extract::State<Tree>) -> Response {
    ([(CONTENT_TYPE, MEDIA_TYPE)], tree.metrics.exposition()).into_response()
}
