//! A content as the stamping API knows it: what a caller asks to be stamped, and the row that is
//! held of it.
//!
//! `told` makes the `api` stamp of an order, and tells the row that follows from a stamp.
//!
//! Holds the types that the API, the store and the spool share. Which words a caller may use is
//! decided at the edge; here everything is valid.

mod told;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::digest::Digest;
use super::namespace::Namespace;
use crate::runtime::time::Timestamp;

pub(super) use told::stamp_data;

/// What a digest is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DigestOf {
    /// The exact bytes of a file.
    Bytes,
    /// The canonical text of `model::onex_text`: without stamps, trimmed.
    OnexText,
    /// Whatever the caller hashed: the bytes were never here.
    Claimed,
}

impl DigestOf {
    /// The word in `file_metadata.digest_of`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::OnexText => "onex-text",
            Self::Claimed => "claimed",
        }
    }
}

/// What a caller asks to be stamped. The identity is (`namespace`, `digest`, `path`): all else is
/// kept as it came the first time.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The tenant.
    pub namespace: Namespace,
    /// BLAKE3 of the content.
    pub digest: Digest,
    /// What it is of.
    pub digest_of: DigestOf,
    /// BLAKE3 of the exact bytes, where `digest` is of the canonical text.
    pub content_hash: Option<Digest>,
    /// The path, as the caller names it; no U+0000.
    pub path: Option<String>,
    /// In bytes.
    pub size: Option<u64>,
    /// Media type, at most 255 characters.
    pub content_type: Option<String>,
    /// At most 10 characters.
    pub protocol_version: String,
    /// At most 10 characters.
    pub metadata_version: String,
    /// The caller's version of the content.
    pub version: i32,
    /// The caller's operation.
    pub op_id: Option<Uuid>,
    /// The caller's request, on the event too.
    pub correlation_id: Option<String>,
    /// The in-file stamp as it was made for the first request; a repeat gets it back.
    pub stamp: Option<String>,
    /// `lightweight` or `rich`, with `stamp`.
    pub stamp_type: Option<String>,
    /// What the caller says of the content; no U+0000.
    pub metadata: Map<String, Value>,
    /// Further keys of `stamp_data`, as a caller of the record shape sends them; no U+0000.
    pub stamp_data: Map<String, Value>,
    /// What an intelligence service said of it; no U+0000.
    pub intelligence: Map<String, Value>,
    /// When it was asked for.
    pub at: Timestamp,
}

/// A row of `metadata_stamps`, held by the store or told by the spool.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// `stamp_id`.
    pub id: Uuid,
    /// 64 hexadecimal digits.
    pub file_hash: String,
    /// None for a content without a place.
    pub file_path: Option<String>,
    /// In bytes.
    pub file_size: Option<i64>,
    /// Media type.
    pub content_type: Option<String>,
    /// The tenant; rows of older schemas hold other words than ours.
    pub namespace: String,
    /// Of the stamp protocol.
    pub protocol_version: String,
    /// Of the metadata's layout.
    pub metadata_version: String,
    /// The stamp: `hash`, `namespace`, `timestamp`, `protocol_version`, `stamp`, `stamp_type`,
    /// `metadata` and whatever the caller sent.
    pub stamp_data: Value,
    /// What an intelligence service said.
    pub intelligence_data: Value,
    /// `digest_of`, `content_hash` and the like.
    pub file_metadata: Value,
    /// The caller's version of the content.
    pub version: i32,
    /// The caller's operation.
    pub op_id: Option<Uuid>,
    /// The workflow it came from.
    pub workflow_id: Option<Uuid>,
    /// When it was stamped first.
    pub created_at: Timestamp,
    /// When the row changed last.
    pub updated_at: Timestamp,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamped {
    /// The row, the same for every repeat.
    pub row: Arc<Row>,
    /// The outbox row of its event, where this order was the first and there is an outbox.
    pub event: Option<i64>,
    /// Whether this order was the first.
    pub fresh: bool,
}
