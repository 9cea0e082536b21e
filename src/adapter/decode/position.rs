//! Positions of streams, as stampd itself sends them: `payload.stamp`, a canonical body, or
//! `payload.withheld`, a leaf without one.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::fields::{Fields, TEXT_CHARS_MAX, refused, required};
use super::refusal::Problem;
use super::{KEY_CHARS_MAX, Record, Refusal, event_key, header};
use crate::model::batch::Entry;
use crate::model::body::{self, BodyError};
use crate::model::digest::from_hex;
use crate::model::operation::{Event, Operation, Origin, Position};
use crate::model::stamp::Sealed;
use crate::model::stream::{Leaf, StreamId};
use crate::runtime::time::Timestamp;

/// The parts of an envelope that matter here. The body stays text, since it is hashed as such.
#[derive(Deserialize)]
pub(super) struct Carried<'t> {
    event_id: Option<String>,
    event_type: Option<String>,
    timestamp: Option<Timestamp>,
    correlation_id: Option<String>,
    #[serde(borrow)]
    payload: Payload<'t>,
}

#[derive(Deserialize)]
struct Payload<'t> {
    #[serde(borrow)]
    stamp: Option<&'t RawValue>,
    withheld: Option<Value>,
}

/// Finds the position that a record carries, if it does.
pub(super) fn find(text: &str) -> Option<Carried<'_>> {
    let carried: Carried<'_> = serde_json::from_str(text).ok()?;
    let payload = &carried.payload;
    (payload.stamp.is_some() || payload.withheld.is_some()).then_some(carried)
}

impl Carried<'_> {
    pub(super) fn event_type(&self) -> Option<&str> {
        self.event_type.as_deref()
    }

    pub(super) fn decode(&self, record: &Record<'_>, sent: Timestamp) -> Result<Event, Refusal> {
        let at = self.timestamp.unwrap_or(sent);
        let position = match (self.payload.stamp, &self.payload.withheld) {
            (Some(stamp), _) => of_stamp(stamp.get())?,
            (None, withheld) => of_withheld(withheld.as_ref(), at)?,
        };
        agrees_with_leaf(position.entry.leaf(), record)?;
        let slug = super::Slug::StampCreated;
        let event_id = self.event_id.as_deref().filter(|id| id.len() <= KEY_CHARS_MAX);
        let origin = Origin { at, key: event_key(slug, event_id, record)? };
        let operation = Operation::Position(position);
        Ok(Event { origin, correlation_id: self.correlation_id.clone(), operation })
    }
}

fn of_stamp(text: &str) -> Result<Position, Refusal> {
    let sealed = read(text).map_err(Refusal::Body)?;
    let (stream, seq) = (sealed.stamp.stream, sealed.stamp.seq);
    Ok(Position { stream, seq, entry: Entry::Stamp(Box::new(sealed)) })
}

/// Reads a body that may have been spaced or ordered anew on its way: there is one canonical text.
fn read(text: &str) -> Result<Sealed, BodyError> {
    match body::read(text) {
        Err(BodyError::NotCanonical) => {
            // A tree of serde_json's is sorted by bytes, which for a body's keys is RFC 8785's order.
            let tree: Value = serde_json::from_str(text).map_err(BodyError::Malformed)?;
            body::read(&tree.to_string())
        }
        read => read,
    }
}

fn of_withheld(withheld: Option<&Value>, since: Timestamp) -> Result<Position, Refusal> {
    let map = withheld.and_then(Value::as_object);
    let map = map.ok_or_else(|| refused("withheld", Problem::NotA("an object")))?;
    let data = Fields(map);
    let leaf = required("leaf", data.text("leaf", TEXT_CHARS_MAX)?)?;
    let leaf =
        from_hex(leaf).ok_or_else(|| refused("leaf", Problem::NotA("64 hexadecimal digits")))?;
    let reason = data.word("reason", TEXT_CHARS_MAX)?;
    Ok(Position {
        stream: StreamId::from_uuid(required("stream", data.uuid("stream")?)?),
        seq: required("seq", data.count("seq")?)? as u64,
        entry: Entry::Withheld { leaf: Leaf::from_bytes(leaf), reason, since },
    })
}

/// A leaf that is said beside the body must be the body's.
fn agrees_with_leaf(leaf: &Leaf, record: &Record<'_>) -> Result<(), Refusal> {
    match header(record.leaf) {
        Some(said) if !said.eq_ignore_ascii_case(&leaf.to_string()) => {
            Err(Refusal::Leaf(said.chars().take(64).collect()))
        }
        _ => Ok(()),
    }
}
