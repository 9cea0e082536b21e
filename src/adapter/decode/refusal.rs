//! Why a record asks for nothing: always the sender's mistake, so trying again cannot help.

use super::VALUE_BYTES_MAX;
use crate::model::body::BodyError;

/// Why a record is not decoded.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It has no value.
    #[error("decode the record: it has no value (a tombstone)")]
    Tombstone,
    /// Its value has no bytes.
    #[error("decode the record: its value is empty")]
    Empty,
    /// Its value is too long.
    #[error("decode the record: its value has {0} bytes; at most {VALUE_BYTES_MAX} are read")]
    TooLarge(usize),
    /// Its value is not text.
    #[error("decode the record: its value is not UTF-8")]
    NotUtf8,
    /// Its value is not JSON.
    #[error("decode the record: its value is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// Its value is JSON of another type.
    #[error("decode the record: its value is not a JSON object")]
    NotAnObject,
    /// Its event type is that of another topic.
    #[error("decode the record: event_type {event_type} contradicts its topic, of {topic}")]
    Contradiction {
        /// As it was sent.
        event_type: String,
        /// The topic's slug.
        topic: &'static str,
    },
    /// A field is not what it must be.
    #[error("decode the record: {field} {problem}")]
    Field {
        /// Its key.
        field: &'static str,
        /// What is wrong with it.
        problem: Problem,
    },
    /// Its stamp is none.
    #[error("decode the record's stamp")]
    Body(#[source] BodyError),
    /// Its stamp has another leaf than is said beside it.
    #[error("decode the record: its stamp has another leaf than {0}, which the record names")]
    Leaf(String),
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is not there, or null.
    #[error("is missing")]
    Missing,
    /// It is of another JSON type.
    #[error("is not {0}")]
    NotA(&'static str),
    /// It is a text without characters.
    #[error("is empty")]
    Empty,
    /// It is a text with too many.
    #[error("is longer than {0} characters")]
    TooLong(usize),
    /// It holds a character that no text column does.
    #[error("holds U+0000, which Postgres does not store")]
    Nul,
    /// It is a number below the least.
    #[error("is less than {0}")]
    TooSmall(i64),
    /// It is a number beyond the greatest.
    #[error("is more than {0}")]
    TooBig(i64),
    /// It is another word than the known ones.
    #[error("is none of {0}")]
    NotOneOf(&'static str),
}

impl Refusal {
    /// Every word that [`code`](Self::code) gives.
    pub const CODES: [&str; 10] = [
        "tombstone",
        "empty",
        "too_large",
        "not_utf8",
        "not_json",
        "not_an_object",
        "contradiction",
        "field",
        "body",
        "leaf",
    ];

    /// A word for dead letters and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::Empty => "empty",
            Self::TooLarge(_) => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson(_) => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::Contradiction { .. } => "contradiction",
            Self::Field { .. } => "field",
            Self::Body(_) => "body",
            Self::Leaf(_) => "leaf",
        }
    }

    /// The field at fault, where it is one.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Field { field, .. } => Some(field),
            Self::Tombstone
            | Self::Empty
            | Self::TooLarge(_)
            | Self::NotUtf8
            | Self::NotJson(_)
            | Self::NotAnObject
            | Self::Contradiction { .. }
            | Self::Body(_)
            | Self::Leaf(_) => None,
        }
    }
}
