//! What went wrong with a request, and its wording: problem members beside both layouts.
//!
//! Promises: the status inside a reply is that of the reply, and nothing in it tells of the server:
//! no SQL, no path, no stack. What an operator has to know goes to the log.

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::call::CORRELATION;
use crate::runtime::http::{self, BodyError, Refusal};

/// Seconds after which a caller may come again where nothing better is known.
const RETRY_AFTER_S: u64 = 1;

/// What kind of problem it is, in words that clients compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request does not say what it has to.
    ValidationError,
    /// Not a namespace where one is written.
    NamespaceInvalid,
    /// Nothing is held under that hash.
    StampNotFound,
    /// No such route.
    NotFound,
    /// No such method on that route.
    MethodNotAllowed,
    /// A batch of nothing.
    EmptyBatchRequest,
    /// A batch of too many, or too much in all.
    BatchTooLarge,
    /// More than a route takes.
    ContentTooLarge,
    /// The body came too slowly.
    RequestTimeout,
    /// The body broke off.
    BadRequest,
    /// The store is away.
    DatabaseUnavailable,
    /// Too many large requests at once.
    Overloaded,
    /// The peer asks too often.
    RateLimited,
    /// There is no token, or not the right one.
    Unauthorized,
    /// Not for that host, origin or token.
    Forbidden,
    /// The bearer has no such stream.
    StreamNotFound,
    /// The piece begins beyond what is held of its stream.
    OutOfOrder,
    /// A known position of a stream would get another stamp.
    Equivocation,
    /// The body is packed in a way that is not read here.
    EncodingUnsupported,
    /// A stamp of a later version of the protocol.
    VersionUnsupported,
    /// The record refuses a stamp of a piece.
    StampRefused,
    /// What only whoever runs the server can mend; its log has it.
    InternalError,
}

impl Code {
    /// Every one, by its word.
    pub const ALL: [Self; 22] = [
        Self::BadRequest,
        Self::BatchTooLarge,
        Self::ContentTooLarge,
        Self::DatabaseUnavailable,
        Self::EmptyBatchRequest,
        Self::EncodingUnsupported,
        Self::Equivocation,
        Self::Forbidden,
        Self::InternalError,
        Self::MethodNotAllowed,
        Self::NamespaceInvalid,
        Self::NotFound,
        Self::OutOfOrder,
        Self::Overloaded,
        Self::RateLimited,
        Self::RequestTimeout,
        Self::StampNotFound,
        Self::StampRefused,
        Self::StreamNotFound,
        Self::Unauthorized,
        Self::ValidationError,
        Self::VersionUnsupported,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ValidationError => "VALIDATION_ERROR",
            Self::NamespaceInvalid => "NAMESPACE_INVALID",
            Self::StampNotFound => "STAMP_NOT_FOUND",
            Self::NotFound => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::EmptyBatchRequest => "EMPTY_BATCH_REQUEST",
            Self::BatchTooLarge => "BATCH_TOO_LARGE",
            Self::ContentTooLarge => "CONTENT_TOO_LARGE",
            Self::RequestTimeout => "REQUEST_TIMEOUT",
            Self::BadRequest => "BAD_REQUEST",
            Self::DatabaseUnavailable => "DATABASE_UNAVAILABLE",
            Self::Overloaded => "OVERLOADED",
            Self::RateLimited => "RATE_LIMITED",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::StreamNotFound => "STREAM_NOT_FOUND",
            Self::OutOfOrder => "OUT_OF_ORDER",
            Self::Equivocation => "EQUIVOCATION",
            Self::EncodingUnsupported => "ENCODING_UNSUPPORTED",
            Self::VersionUnsupported => "VERSION_UNSUPPORTED",
            Self::StampRefused => "STAMP_REFUSED",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// The status that goes with it.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::ValidationError
            | Self::NamespaceInvalid
            | Self::VersionUnsupported
            | Self::StampRefused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::StampNotFound | Self::NotFound | Self::StreamNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::EmptyBatchRequest | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::BatchTooLarge | Self::ContentTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::DatabaseUnavailable | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::OutOfOrder | Self::Equivocation => StatusCode::CONFLICT,
            Self::EncodingUnsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A problem as a caller is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub code: Code,
    /// The field at fault.
    pub field: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
    /// Seconds for a Retry-After.
    pub retry_after_s: Option<u64>,
    /// What comes beside the members that every problem has.
    pub extra: Map<String, Value>,
}

impl Problem {
    /// A problem of no one field.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let passes =
            matches!(code, Code::DatabaseUnavailable | Code::Overloaded | Code::RateLimited);
        Self {
            code,
            field: None,
            message: message.into(),
            retry_after_s: passes.then_some(RETRY_AFTER_S),
            extra: Map::new(),
        }
    }

    /// A field that does not say what it has to.
    pub fn field(field: impl Into<String>, message: &str) -> Self {
        let field = field.into();
        let message = format!("{field} {message}");
        Self { field: Some(field), ..Self::new(Code::ValidationError, message) }
    }

    /// What became of a body that was not read to its end.
    pub(crate) fn of_body(error: &(dyn std::error::Error + 'static)) -> Self {
        match BodyError::of(error) {
            Some(cause @ BodyError::TooLong(_)) => {
                Self::new(Code::ContentTooLarge, cause.to_string())
            }
            Some(cause @ BodyError::TooSlow) => Self::new(Code::RequestTimeout, cause.to_string()),
            Some(BodyError::Broken(_)) | None => {
                Self::new(Code::BadRequest, "the body broke off: send it again")
            }
        }
    }

    /// The error as one of a list.
    pub(super) fn to_item(&self) -> Value {
        json!({"code": self.code.as_str(), "field": self.field, "message": self.message})
    }

    fn to_body(&self) -> Value {
        let status = self.code.status();
        let mut body = json!({
            "status": "error",
            "success": false,
            "data": null,
            "error": [self.to_item()],
            "message": self.message,
            "error_message": self.message,
            "metadata": {"status_code": status.as_u16()},
            "status_code": status.as_u16(),
            "type": "about:blank",
            "title": status.canonical_reason(),
            "detail": self.message,
            "code": self.code.as_str(),
        });
        if let Value::Object(members) = &mut body {
            members.extend(self.extra.clone());
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = http::problem(self.code.status(), &self.to_body(), self.retry_after_s);
        response.extensions_mut().insert(self.code);
        response
    }
}

/// Words what was refused before a route saw it, for `runtime::http`.
pub fn refuse(refusal: &Refusal, request: &HeaderMap) -> Response {
    let code = match refusal {
        Refusal::Host | Refusal::Origin => Code::Forbidden,
        Refusal::Rate { .. } => Code::RateLimited,
        Refusal::BodyTooLarge { .. } => Code::ContentTooLarge,
    };
    let problem = Problem {
        retry_after_s: refusal.retry_after_s(),
        ..Problem::new(code, refusal.to_string())
    };
    let mut response = problem.into_response();
    if let Some(id) = request.get(&CORRELATION) {
        response.headers_mut().insert(CORRELATION, id.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_inside_is_the_status_outside() {
        let body = Problem::field("content", "must not be empty").to_body();
        assert_eq!(body["status"], "error");
        assert_eq!(body["status_code"], 422);
        assert_eq!(body["metadata"]["status_code"], 422);
        assert_eq!(body["error"][0]["field"], "content");
        assert_eq!(body["detail"], body["error_message"]);
    }

    #[test]
    fn what_may_be_repeated_says_when() {
        let response = Problem::new(Code::DatabaseUnavailable, "x").into_response();
        assert_eq!(response.headers()["retry-after"], "1");
        assert!(Problem::new(Code::NotFound, "x").retry_after_s.is_none());
    }
}
