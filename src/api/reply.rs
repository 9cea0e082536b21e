//! A good reply in both layouts: the envelope's members, and flat ones beside them.

use std::ops::Range;
use std::time::Instant;

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value, json};

use super::call::{CORRELATION, correlation_header};
use crate::model::content::Row;
use crate::model::onex_text::Time;
use crate::runtime::time::Timestamp;

/// A reply being made.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    members: Members,
    metadata: Members,
    correlation_id: Option<String>,
}

/// An object's members, in the order in which they are told. Each is written where it is told, since to
/// make a tree of it first costs more than to write it.
#[derive(Clone, Debug)]
struct Members {
    /// Their values, and those that were told anew.
    text: Vec<u8>,
    /// Where each one's value stands.
    places: Vec<(&'static str, Range<usize>)>,
}

/// Room for the members of a stamp of a small content.
const MEMBERS_BYTES: usize = 3 << 10;

/// Room for what is said of a reply.
const METADATA_BYTES: usize = 256;

/// Room for the keys of both.
const KEYS_BYTES: usize = 512;

impl Members {
    fn with_capacity(bytes: usize) -> Self {
        Self { text: Vec::with_capacity(bytes), places: Vec::with_capacity(16) }
    }

    /// Sets one; the last word counts.
    fn set(&mut self, key: &'static str, value: &impl Serialize) {
        let start = self.text.len();
        write_json(&mut self.text, value);
        let place = start..self.text.len();
        match self.places.iter_mut().find(|(held, _)| *held == key) {
            Some((_, held)) => *held = place,
            None => self.places.push((key, place)),
        }
    }

    /// Writes `"key":value` of each, with a comma behind every one but the last.
    fn write(&self, into: &mut Vec<u8>) {
        for (nth, (key, place)) in self.places.iter().enumerate() {
            if nth > 0 {
                into.push(b',');
            }
            // Keys are words of the code: there is nothing to escape.
            into.push(b'"');
            into.extend_from_slice(key.as_bytes());
            into.extend_from_slice(b"\":");
            into.extend_from_slice(&self.text[place.clone()]);
        }
    }
}

impl Reply {
    /// All went well, and `data` came of it.
    pub(crate) fn new(message: &str, data: impl Serialize) -> Self {
        let mut members = Members::with_capacity(MEMBERS_BYTES);
        members.set("status", &"success");
        members.set("success", &true);
        members.set("data", &data);
        members.set("error", &());
        members.set("message", &message);
        let mut metadata = Members::with_capacity(METADATA_BYTES);
        metadata.set("status_code", &200);
        Self { members, metadata, correlation_id: None }
    }

    /// A flat member.
    pub(super) fn flat(mut self, key: &'static str, value: impl Serialize) -> Self {
        self.members.set(key, &value);
        self
    }

    /// The flat member of the stamp itself.
    pub(super) fn stamp_data(self, row: &Row) -> Self {
        self.flat("stamp_data", StampData(row))
    }

    /// A member of the envelope's metadata.
    pub(super) fn noting(mut self, key: &'static str, value: impl Serialize) -> Self {
        self.metadata.set(key, &value);
        self
    }

    /// Some of it went wrong.
    pub(super) fn partial(self, errors: Vec<Value>) -> Self {
        self.flat("status", "partial").flat("success", false).flat("error", errors)
    }

    /// To whom it goes.
    pub(crate) fn to(mut self, correlation_id: Option<String>) -> Self {
        self.metadata.set("correlation_id", &correlation_id);
        self.correlation_id = correlation_id;
        self
    }

    fn to_text(&self) -> Vec<u8> {
        let bytes = self.members.text.len() + self.metadata.text.len() + KEYS_BYTES;
        let mut text = Vec::with_capacity(bytes);
        text.push(b'{');
        self.members.write(&mut text);
        text.extend_from_slice(br#","metadata":{"#);
        self.metadata.write(&mut text);
        text.extend_from_slice(b"}}");
        text
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = response_of(self.to_text());
        if let Some(id) = correlation_header(self.correlation_id.as_deref()) {
            response.headers_mut().insert(CORRELATION, id);
        }
        response
    }
}

fn write_json(into: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(into, value).expect("text keys and trees can always be written");
}

fn response_of(json: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response()
}

/// A body of text keys and trees as a response of its own.
pub(crate) fn json_response(body: &impl Serialize) -> Response {
    let mut text = Vec::new();
    write_json(&mut text, body);
    response_of(text)
}

/// Milliseconds since `started`, to the microsecond.
pub(crate) fn elapsed_ms(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// The grades of a time that is shorter than so many milliseconds.
pub(super) const GRADES: [(&str, f64); 2] = [("A", 1.0), ("B", 2.0)];

/// The grade of a time.
pub(super) fn grade(took_ms: f64) -> &'static str {
    GRADES.iter().find(|(_, below_ms)| took_ms < *below_ms).map_or("C", |(grade, _)| *grade)
}

/// A row of `metadata_stamps`.
pub(super) fn row(row: &Row) -> Value {
    json!({
        "id": row.id,
        "stamp_id": row.id,
        "file_hash": row.file_hash,
        "file_path": row.file_path,
        "file_size": row.file_size,
        "content_type": row.content_type,
        "namespace": row.namespace,
        "protocol_version": row.protocol_version,
        "metadata_version": row.metadata_version,
        "stamp_type": row.stamp_data.get("stamp_type"),
        "metadata": row.stamp_data.get("metadata").unwrap_or(&Value::Object(Map::new())),
        "stamp_data": StampData(row),
        "intelligence_data": row.intelligence_data,
        "file_metadata": row.file_metadata,
        "version": row.version,
        "op_id": row.op_id,
        "workflow_id": row.workflow_id,
        "created_at": Time::from(row.created_at).as_str(),
        "updated_at": Time::from(row.updated_at).as_str(),
    })
}

/// The stamp itself. Rows of older programs may hold anything, so what a client needs is said by
/// the row's own columns.
struct StampData<'r>(&'r Row);

impl StampData<'_> {
    /// The members that the row says.
    const OWN: [&'static str; 6] = [
        "file_metadata",
        "hash",
        "intelligence_data",
        "namespace",
        "protocol_version",
        "timestamp",
    ];

    /// The stamp's time, unless it is in words that we do not know. Older clients read no
    /// nanoseconds, and no Z.
    fn time(&self) -> Option<Time> {
        let own = self.0.stamp_data.get("timestamp").and_then(Value::as_str);
        // As nearly always.
        let own = own.filter(|own| own.as_bytes() != self.0.created_at.to_rfc3339());
        let precise = own.filter(|own| own.ends_with('Z')).and_then(Timestamp::parse);
        (own.is_none() || precise.is_some())
            .then(|| Time::from(precise.unwrap_or(self.0.created_at)))
    }
}

impl Serialize for StampData<'_> {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        let mut object = into.serialize_map(None)?;
        for (key, value) in row.stamp_data.as_object().into_iter().flatten() {
            if !Self::OWN.contains(&key.as_str()) {
                object.serialize_entry(key, value)?;
            }
        }
        object.serialize_entry("file_metadata", &row.file_metadata)?;
        object.serialize_entry("hash", &row.file_hash)?;
        object.serialize_entry("intelligence_data", &row.intelligence_data)?;
        object.serialize_entry("namespace", &row.namespace)?;
        object.serialize_entry("protocol_version", &row.protocol_version)?;
        match self.time() {
            Some(time) => object.serialize_entry("timestamp", time.as_str())?,
            None => object.serialize_entry("timestamp", &row.stamp_data["timestamp"])?,
        }
        object.end()
    }
}
