//! Why a request got no further than the door, the plain wording of it, and the one way in which any
//! request is refused.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

/// Why no route saw a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its Host is not on the allow-list: a name that was made to point here, or a missing entry.
    #[error("this server does not answer for that host: its config says for which")]
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

/// Words a refusal, and no more.
pub fn refuse(refusal: &Refusal, _request: &HeaderMap) -> Response {
    let status = refusal.status();
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": refusal.to_string(),
    });
    problem(status, &body, refusal.retry_after_s())
}

/// A reply of `application/problem+json`. It says when to come again, where waiting helps, and how to
/// log in, where that is missing.
pub fn problem(status: StatusCode, body: &Value, retry_after_s: Option<u64>) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
