//! Why a request to `/api/v1/streams` is refused, as its status, its code and what a person reads.
//!
//! The codes and what comes with them are read by `sink::bridge`: 401 and 403 need a person, 409
//! carries the size to go on from, 413 asks for less at once, 422 names the stamp at fault, 429 and
//! 503 say when to come again.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::api::auth::AuthError;
use crate::model::class::Class;
use crate::model::namespace::Namespace;
use crate::model::piece::PieceError;
use crate::runtime::chain::chain;
use crate::store::StoreError;
use crate::store::ingest::IngestError;
use crate::store::streams::Appended;

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No token, or none in force.
    Unauthorized(AuthError),
    /// The stream is another agent's.
    Foreign,
    /// The token's scope has not this namespace.
    OutOfScope(Namespace),
    /// The bearer has no such stream.
    Unknown,
    /// The piece begins beyond what is held.
    OutOfOrder(Appended),
    /// A known position would get another stamp.
    Equivocation {
        /// Which one.
        seq: Option<u64>,
    },
    /// More bytes than are taken at once.
    TooLarge(usize),
    /// The store took too long over it.
    TooSlow,
    /// A coding other than zstd.
    Encoding,
    /// It is not what its coding says.
    Unpack,
    /// The body ended early or came too slowly.
    Cut,
    /// It is not a piece of the stream.
    Piece(PieceError),
    /// The record refuses a stamp of it; the SQLSTATE.
    Rejected {
        /// What the server said, as a code.
        code: String,
        /// Which one, where it is known.
        seq: Option<u64>,
    },
    /// Too many at once.
    Busy,
    /// The database is away.
    Away,
    /// The database does not say which record it is.
    NoLedger,
    /// A failure that only whoever runs the bridge can mend; the log has it.
    Broken,
    /// A bug.
    Panicked,
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Store(error) => error.into(),
            AuthError::Missing | AuthError::Unknown => Self::Unauthorized(error),
        }
    }
}

impl From<IngestError> for Refusal {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Store(error) => error.into(),
            IngestError::Revoked => Self::Unauthorized(AuthError::Unknown),
            IngestError::Foreign => Self::Foreign,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error.class() {
            Class::Fork => Self::Equivocation { seq: error.seq() },
            Class::Reject => Self::Rejected { code: error.code().to_owned(), seq: error.seq() },
            Class::RetrySmaller if error.code() == "57014" => Self::TooSlow,
            Class::Retry | Class::RetrySmaller => Self::Away,
            Class::Park => {
                tracing::error!(error = error.reason(), "the store refuses to take stamps");
                Self::Broken
            }
        }
    }
}

impl Refusal {
    /// The code of the reply, and of the metric.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => "UNAUTHORIZED",
            Self::Foreign | Self::OutOfScope(_) => "FORBIDDEN",
            Self::Unknown => "STREAM_NOT_FOUND",
            Self::OutOfOrder(_) => "OUT_OF_ORDER",
            Self::Equivocation { .. } => "EQUIVOCATION",
            Self::TooLarge(_) | Self::TooSlow | Self::Piece(PieceError::TooMany(_)) => {
                "CONTENT_TOO_LARGE"
            }
            Self::Encoding => "ENCODING_UNSUPPORTED",
            Self::Piece(error) if error.is_of_newer_version() => "VERSION_UNSUPPORTED",
            Self::Unpack | Self::Cut | Self::Piece(_) => "VALIDATION_ERROR",
            Self::Rejected { .. } => "STAMP_REFUSED",
            Self::Busy => "RATE_LIMITED",
            Self::Away => "DATABASE_UNAVAILABLE",
            Self::NoLedger | Self::Broken | Self::Panicked => "INTERNAL_ERROR",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Foreign | Self::OutOfScope(_) => StatusCode::FORBIDDEN,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::OutOfOrder(_) | Self::Equivocation { .. } => StatusCode::CONFLICT,
            Self::TooLarge(_) | Self::TooSlow | Self::Piece(PieceError::TooMany(_)) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Cut => StatusCode::BAD_REQUEST,
            Self::Unpack | Self::Piece(_) | Self::Rejected { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Away => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoLedger | Self::Broken | Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Unauthorized(error) => error.to_string(),
            Self::Foreign => "the stream is another agent's, or of a namespace that is not in the \
                              token's scope"
                .to_owned(),
            Self::OutOfScope(namespace) => {
                format!("namespace {namespace} is not in the token's scope")
            }
            Self::Unknown => "the token has no such stream".to_owned(),
            Self::OutOfOrder(appended) => {
                format!("the piece must begin at seq {} or before", appended.size)
            }
            Self::Equivocation { .. } => {
                "another stamp is held under a seq of the piece".to_owned()
            }
            Self::TooLarge(bytes_max) => {
                format!("the body is larger than {bytes_max} bytes: send fewer stamps at once")
            }
            Self::TooSlow => "the piece takes too long: send fewer stamps at once".to_owned(),
            Self::Encoding => "Content-Encoding is zstd or identity".to_owned(),
            Self::Unpack => "the body is not zstd".to_owned(),
            Self::Cut => "the body did not come whole".to_owned(),
            Self::Piece(error) => format!("failed to {}", chain(error)),
            Self::Rejected { code, .. } => {
                format!("the record refuses a stamp of the piece (SQLSTATE {code})")
            }
            Self::Busy => "too many pieces at once: wait, then try again".to_owned(),
            Self::Away => "the database is away: try again".to_owned(),
            Self::NoLedger => "the database does not say which record it is".to_owned(),
            Self::Broken | Self::Panicked => "the bridge failed; its log says why".to_owned(),
        }
    }

    /// What comes beside the usual members.
    fn extra(&self) -> Map<String, Value> {
        let value = match self {
            Self::OutOfOrder(appended) => json!({
                "size": appended.size, "leaf": appended.head.map(|leaf| leaf.to_string()),
            }),
            Self::Equivocation { seq } | Self::Rejected { seq, .. } => json!({ "seq": seq }),
            // The stamp is fine there, and nobody should set it aside.
            Self::Piece(error) if error.is_of_newer_version() => json!({}),
            Self::Piece(PieceError::Entry { seq, .. }) => json!({ "seq": seq }),
            _ => json!({}),
        };
        match value {
            Value::Object(extra) => extra,
            _ => Map::new(),
        }
    }

    const fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Busy | Self::Away => Some(1),
            _ => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, detail) = (self.status(), self.code(), self.detail());
        let mut body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": "error",
            "status_code": status.as_u16(),
            "code": code,
            "detail": detail,
            "message": detail,
            "success": false,
            "error": [{ "code": code, "field": null, "message": detail }],
            "error_message": detail,
            "data": null,
            "metadata": { "status_code": status.as_u16() },
        });
        if let Value::Object(members) = &mut body {
            members.extend(self.extra());
        }
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
