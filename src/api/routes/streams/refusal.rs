//! Why a request to `/api/v1/streams` is refused, as a problem.
//!
//! The codes and what comes with them are read by `sink::bridge`: 401 and 403 need a person, 409
//! carries the size to go on from, 413 asks for less at once, 422 names the stamp at fault, 429 and
//! 503 say when to come again.

use serde_json::{Map, Value, json};

use crate::api::auth::AuthError;
use crate::api::problem::{Code, Problem};
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
    /// The body ended early or came too slowly: the code and the words of it.
    Body(Code, String),
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

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let extra = match refusal.extra() {
            Value::Object(extra) => extra,
            _ => Map::new(),
        };
        Self { extra, ..Self::new(refusal.code(), refusal.detail()) }
    }
}

impl Refusal {
    const fn code(&self) -> Code {
        match self {
            Self::Unauthorized(_) => Code::Unauthorized,
            Self::Foreign | Self::OutOfScope(_) => Code::Forbidden,
            Self::Unknown => Code::StreamNotFound,
            Self::OutOfOrder(_) => Code::OutOfOrder,
            Self::Equivocation { .. } => Code::Equivocation,
            Self::TooLarge(_) | Self::TooSlow | Self::Piece(PieceError::TooMany(_)) => {
                Code::ContentTooLarge
            }
            Self::Encoding => Code::EncodingUnsupported,
            Self::Body(code, _) => *code,
            Self::Piece(error) if error.is_of_newer_version() => Code::VersionUnsupported,
            Self::Unpack | Self::Piece(_) => Code::ValidationError,
            Self::Rejected { .. } => Code::StampRefused,
            Self::Busy => Code::RateLimited,
            Self::Away => Code::DatabaseUnavailable,
            Self::NoLedger | Self::Broken | Self::Panicked => Code::InternalError,
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
            Self::Body(_, message) => message.clone(),
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

    /// What comes beside the usual members, as an object.
    fn extra(&self) -> Value {
        match self {
            Self::OutOfOrder(appended) => json!({
                "size": appended.size, "leaf": appended.head.map(|leaf| leaf.to_string()),
            }),
            Self::Equivocation { seq } | Self::Rejected { seq, .. } => json!({ "seq": seq }),
            // The stamp is fine there, and nobody should set it aside.
            Self::Piece(error) if error.is_of_newer_version() => Value::Null,
            Self::Piece(PieceError::Entry { seq, .. }) => json!({ "seq": seq }),
            _ => Value::Null,
        }
    }
}
