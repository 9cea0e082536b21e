//! A good reply in both layouts: the envelope's members, and flat ones beside them.

use std::time::Instant;

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::{RawValue, to_raw_value};
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

/// An object's members, in the order in which they are written.
#[derive(Clone, Debug)]
struct Members(Vec<(&'static str, Member)>);

/// What a member is: a small tree, or what was written already, since to make a tree of a large one
/// costs more than to write it.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(untagged)]
enum Member {
    Tree(Value),
    Written(Box<RawValue>),
}

impl Member {
    fn written(value: &impl Serialize) -> Self {
        Self::Written(to_raw_value(value).expect("text keys and trees can always be written"))
    }
}

impl Members {
    /// Sets one; the last word counts.
    fn set(&mut self, key: &'static str, value: Member) {
        match self.0.iter_mut().find(|(held, _)| *held == key) {
            Some((_, held)) => *held = value,
            None => self.0.push((key, value)),
        }
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl Reply {
    /// All went well, and `data` came of it.
    pub(crate) fn new(message: &str, data: impl Serialize) -> Self {
        let members = vec![
            ("status", Member::Tree("success".into())),
            ("success", Member::Tree(true.into())),
            ("data", Member::written(&data)),
            ("error", Member::Tree(Value::Null)),
            ("message", Member::Tree(message.into())),
        ];
        let metadata = vec![("status_code", Member::Tree(200.into()))];
        let (members, metadata) = (Members(members), Members(metadata));
        Self { members, metadata, correlation_id: None }
    }

    /// A flat member.
    pub(super) fn flat(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.members.set(key, Member::Tree(value.into()));
        self
    }

    /// The flat member of the stamp itself.
    pub(super) fn stamp_data(mut self, row: &Row) -> Self {
        self.members.set("stamp_data", Member::written(&StampData(row)));
        self
    }

    /// A member of the envelope's metadata.
    pub(super) fn noting(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.metadata.set(key, Member::Tree(value.into()));
        self
    }

    /// Some of it went wrong.
    pub(super) fn partial(self, errors: Vec<Value>) -> Self {
        self.flat("status", "partial").flat("success", false).flat("error", errors)
    }

    /// To whom it goes.
    pub(crate) fn to(mut self, correlation_id: Option<String>) -> Self {
        self.metadata.set("correlation_id", Member::Tree(correlation_id.clone().into()));
        self.correlation_id = correlation_id;
        self
    }
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        let mut object = into.serialize_map(Some(self.members.0.len() + 1))?;
        for (key, value) in &self.members.0 {
            object.serialize_entry(key, value)?;
        }
        object.serialize_entry("metadata", &self.metadata)?;
        object.end()
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = json_response(&self);
        if let Some(id) = correlation_header(self.correlation_id.as_deref()) {
            response.headers_mut().insert(CORRELATION, id);
        }
        response
    }
}

/// A body of text keys and trees as a response of its own.
pub(crate) fn json_response(body: &impl Serialize) -> Response {
    let text = serde_json::to_vec(body).expect("text keys and trees can always be written");
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
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
