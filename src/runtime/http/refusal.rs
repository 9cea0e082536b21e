//! Why a request got no further than the door, and the plain wording of it.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;

/// Why no route saw a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its Host is not on the allow-list: a name that was made to point here, or a missing entry.
    #[error("this server does not answer for that host")]
    Host,
    /// A page from elsewhere sent it.
    #[error("pages of other origins may not call this server")]
    Origin,
    /// Its peer asks too often.
    #[error("too many requests: wait, then try again")]
    Rate {
        /// When one more will pass.
        retry_after: Duration,
    },
    /// It announces a larger body than any route takes.
    #[error("the body is larger than {bytes_max} bytes")]
    BodyTooLarge {
        /// What is taken.
        bytes_max: u64,
    },
}

impl Refusal {
    /// The status that says it.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Host | Self::Origin => StatusCode::FORBIDDEN,
            Self::Rate { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    /// Whole seconds for a Retry-After, where waiting helps.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Rate { retry_after } => Some(retry_after.as_secs() + 1),
            Self::Host | Self::Origin | Self::BodyTooLarge { .. } => None,
        }
    }
}

/// Words a refusal as `application/problem+json`, and no more.
pub fn problem(refusal: &Refusal, _request: &HeaderMap) -> Response {
    let status = refusal.status();
    let title = status.canonical_reason().unwrap_or_default();
    let body = serde_json::json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "detail": refusal.to_string(),
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = refusal.retry_after_s() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
