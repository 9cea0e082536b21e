//! Records: the operation that one asks for, or why it asks for none.
//!
//! A record is JSON, an OnexEnvelopeV1 or bare. The data lies in the object that is named after its
//! entity (`workflow_step_data`), at the top or below `payload`; else `payload` itself is the data,
//! else the whole object. Unknown keys are ignored. A stamp of ours, `payload.stamp`, is checked as
//! a body alone.
//!
//! Never panics, whatever the bytes. What a refused record means for the stream is left to the
//! consumer.

mod bridge;
mod content;
mod fields;
mod heartbeat;
mod position;
mod query;
mod refusal;
mod step;
mod transition;
mod workflow;

use std::str::from_utf8;

use serde_json::{Map, Value};

use super::route::Slug;
use crate::model::digest::Digest;
use crate::model::operation::{Event, Operation, Origin};
use crate::runtime::time::Timestamp;
use fields::Fields;

pub use query::{LIMIT_MAX, OFFSET_MAX};
pub use refusal::{Problem, Refusal};

/// The longest value that is read. Kafka's own limit is 1 MB unless it was raised on purpose.
pub const VALUE_BYTES_MAX: usize = 8 << 20;

/// The longest identity of an event.
const KEY_CHARS_MAX: usize = 255;

/// A record as it lies on a topic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'r> {
    /// The key.
    pub key: Option<&'r [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'r [u8]>,
    /// `ce_id`, the CloudEvents identity.
    pub ce_id: Option<&'r [u8]>,
    /// `ce_type`, the CloudEvents type.
    pub ce_type: Option<&'r [u8]>,
    /// `stampd_leaf`, the leaf that the value's stamp must have.
    pub leaf: Option<&'r [u8]>,
}

/// Decodes a record of a topic of the kind `slug`, which was sent at `sent`.
pub fn decode(slug: Slug, record: &Record<'_>, sent: Timestamp) -> Result<Event, Refusal> {
    let text = text_of(record)?;
    if slug == Slug::StampCreated
        && let Some(carried) = position::find(text)
    {
        agrees(slug, carried.event_type().or(header(record.ce_type)))?;
        return carried.decode(record, sent);
    }
    let root: Value = serde_json::from_str(text).map_err(Refusal::NotJson)?;
    let Value::Object(root) = root else { return Err(Refusal::NotAnObject) };
    let message = Message::new(&root, slug);
    agrees(slug, message.head.text("event_type", KEY_CHARS_MAX)?.or(header(record.ce_type)))?;
    let origin = message.origin(slug, record, sent)?;
    let operation = operation(slug, &message)?;
    let correlation_id = message.correlation_id();
    Ok(Event { origin, correlation_id, operation })
}

fn operation(slug: Slug, message: &Message<'_>) -> Result<Operation, Refusal> {
    match slug {
        Slug::WorkflowStarted => workflow::started(message).map(Operation::Started),
        Slug::WorkflowCompleted | Slug::WorkflowFailed => {
            workflow::finished(message).map(Operation::Finished)
        }
        Slug::StepCompleted => step::decode(message.data).map(Operation::Step),
        Slug::StampCreated => {
            content::decode(message.data).map(|content| Operation::Content(Box::new(content)))
        }
        Slug::StateTransition => transition::decode(message.data).map(Operation::Transition),
        Slug::StateAggregationCompleted => bridge::decode(message.data).map(Operation::Bridge),
        Slug::NodeHeartbeat => heartbeat::decode(message.data).map(Operation::Heartbeat),
        Slug::QueryRequested => query::decode(message.data).map(Operation::Query),
    }
}

fn text_of<'r>(record: &Record<'r>) -> Result<&'r str, Refusal> {
    let value = record.value.ok_or(Refusal::Tombstone)?;
    if value.is_empty() {
        return Err(Refusal::Empty);
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(Refusal::TooLarge(value.len()));
    }
    from_utf8(value).map_err(|_| Refusal::NotUtf8)
}

/// A header as text; what is not text says nothing.
fn header(bytes: Option<&[u8]>) -> Option<&str> {
    from_utf8(bytes?).ok().filter(|text| !text.is_empty())
}

/// Refuses a type that is another topic's. A type that is nobody's is the sender's own word.
fn agrees(slug: Slug, event_type: Option<&str>) -> Result<(), Refusal> {
    match event_type.and_then(|text| Slug::of_type(text).map(|meant| (text, meant))) {
        Some((text, meant)) if meant != slug => {
            Err(Refusal::Contradiction { event_type: text.to_owned(), topic: slug.as_str() })
        }
        _ => Ok(()),
    }
}

/// The identity of an event: the sender's own, else CloudEvents', else the digest of all it is.
/// Where it lies is no part of it, since a topic that is made anew counts from 0 again.
fn event_key(slug: Slug, event_id: Option<&str>, record: &Record<'_>) -> Result<String, Refusal> {
    if let Some(id) = event_id.or(header(record.ce_id)) {
        fields::check_text("event_id", id, KEY_CHARS_MAX)?;
        return Ok(id.to_owned());
    }
    let key = record.key.unwrap_or_default();
    // With its length before it, no two keys and values run together to the same bytes.
    let length = (key.len() as u64).to_be_bytes();
    let value = record.value.unwrap_or_default();
    let all = [slug.as_str().as_bytes(), b"\0", &length, key, value].concat();
    Ok(Digest::of(&all).to_string())
}

/// A record's object, with its data found.
struct Message<'m> {
    /// The envelope, or the whole.
    head: Fields<'m>,
    /// What is told.
    data: Fields<'m>,
}

impl<'m> Message<'m> {
    fn new(root: &'m Map<String, Value>, slug: Slug) -> Self {
        let payload = root.get("payload").and_then(Value::as_object);
        let entity = entity_data(slug);
        let named = |within: &'m Map<String, Value>| within.get(entity)?.as_object();
        let data = named(root).or_else(|| payload.and_then(named)).or(payload).unwrap_or(root);
        Self { head: Fields(root), data: Fields(data) }
    }

    fn origin(&self, slug: Slug, record: &Record<'_>, sent: Timestamp) -> Result<Origin, Refusal> {
        let event_id = self.head.text("event_id", KEY_CHARS_MAX)?;
        let said = self.head.time("event_timestamp")?;
        let at = said.or(self.head.time("timestamp")?).unwrap_or(sent);
        Ok(Origin { at, key: event_key(slug, event_id, record)? })
    }

    /// What the event belongs to, as the data or the envelope says; what is not text says nothing.
    fn correlation_id(&self) -> Option<String> {
        let said = |fields: Fields<'_>| fields.0.get("correlation_id")?.as_str().map(str::to_owned);
        said(self.data).or_else(|| said(self.head))
    }
}

/// The key of the object that holds the data of an event.
const fn entity_data(slug: Slug) -> &'static str {
    match slug {
        Slug::WorkflowStarted | Slug::WorkflowCompleted | Slug::WorkflowFailed => {
            "workflow_execution_data"
        }
        Slug::StepCompleted => "workflow_step_data",
        Slug::StampCreated => "metadata_stamp_data",
        Slug::StateTransition => "fsm_transition_data",
        Slug::StateAggregationCompleted => "bridge_state_data",
        Slug::NodeHeartbeat => "node_heartbeat_data",
        Slug::QueryRequested => "query_data",
    }
}

#[cfg(test)]
mod tests;
