//! `GET /metrics`: Prometheus' text, or a summary in JSON for whoever asks for that.

use axum::extract;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::api::Api;
use crate::api::call::Call;
use crate::api::reply::Reply;
use crate::runtime::metrics::MEDIA_TYPE;

/// At the root: text, unless JSON is preferred.
pub(in crate::api) async fn negotiated(
    extract::State(api): extract::State<Api>,
    headers: HeaderMap,
    call: Call,
) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    if prefers_json(accept.unwrap_or_default()) {
        return summary(extract::State(api), call).await.into_response();
    }
    ([(CONTENT_TYPE, MEDIA_TYPE)], api.metrics.exposition()).into_response()
}

/// Below the prefix.
pub(in crate::api) async fn summary(extract::State(api): extract::State<Api>, call: Call) -> Reply {
    let mut data = api.counts.to_summary();
    data["service_uptime"] = api.started.elapsed().as_secs_f64().into();
    data["version"] = crate::VERSION.into();
    Reply::new("metrics", data).to(call.correlation_id)
}

/// Whether JSON is named with a quality that text does not exceed; `*/*` and nothing mean text.
fn prefers_json(accept: &str) -> bool {
    let (mut json, mut text) = (0.0_f32, 0.0_f32);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        match media.as_str() {
            "application/json" => json = quality,
            "text/plain" | "text/*" | "application/openmetrics-text" => text = text.max(quality),
            _ => {}
        }
    }
    json > 0.0 && json >= text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_unless_json_is_asked_for() {
        for accept in ["", "*/*", "text/plain", "text/plain, application/json;q=0.5", "text/html"] {
            assert!(!prefers_json(accept), "{accept}");
        }
        for accept in ["application/json", "Application/JSON, */*", "application/json, text/plain"]
        {
            assert!(prefers_json(accept), "{accept}");
        }
    }
}
