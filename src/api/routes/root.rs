//! `GET /`: what this is.

use axum::response::Response;
use serde_json::json;

use crate::api::reply::json_response;

pub(in crate::api) async fn root() -> Response {
    let body = json!({"service": "stampd", "version": crate::VERSION, "status": "running"});
    json_response(&body)
}
