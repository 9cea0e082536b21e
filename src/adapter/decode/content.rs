//! Contents as senders without streams tell of them.

use super::Refusal;
use super::fields::{Fields, TEXT_CHARS_MAX, refused, required};
use super::refusal::Problem;
use crate::model::digest::Digest;
use crate::model::namespace::Namespace;
use crate::model::operation::Content;

/// One content. Its hash is the sender's word, and its namespace one that stamps can have.
pub(super) fn decode(data: Fields<'_>) -> Result<Content, Refusal> {
    let version = data.integer("version", 1, i32::MAX.into())?.unwrap_or(1);
    let word = |field, default: &str| {
        Ok::<_, Refusal>(data.owned(field, 10)?.unwrap_or_else(|| default.to_owned()))
    };
    Ok(Content {
        namespace: namespace(data)?,
        file_hash: file_hash(data)?,
        file_path: data.note("file_path", TEXT_CHARS_MAX)?,
        file_size: data.count("file_size")?.or(data.count("file_size_bytes")?),
        content_type: data.note("content_type", 255)?,
        protocol_version: word("protocol_version", "1.0")?,
        metadata_version: word("metadata_version", "0.1")?,
        version: version as i32,
        op_id: data.uuid("op_id")?,
        workflow_id: data.uuid("workflow_id")?,
        stamp_data: data.extra("stamp_data")?,
        intelligence_data: data.extra("intelligence_data")?,
        created_at: data.time("created_at")?,
    })
}

fn namespace(data: Fields<'_>) -> Result<Namespace, Refusal> {
    let text = data.word("namespace", 255)?;
    text.parse()
        .map_err(|_| refused("namespace", Problem::NotA("three segments of a-z, 0-9 and _")))
}

fn file_hash(data: Fields<'_>) -> Result<Digest, Refusal> {
    let text = required("file_hash", data.text("file_hash", TEXT_CHARS_MAX)?)?;
    text.parse().map_err(|_| refused("file_hash", Problem::NotA("64 hexadecimal digits")))
}
