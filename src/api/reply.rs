//! A good reply in both layouts: the envelope's members, and flat ones beside them.

use std::time::Instant;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::call::{CORRELATION, correlation_header};
use crate::model::content::Row;
use crate::model::onex_text::Time;

/// A reply being made.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    status: StatusCode,
    members: Map<String, Value>,
    metadata: Map<String, Value>,
    correlation_id: Option<String>,
}

impl Reply {
    /// All went well, and `data` came of it.
    pub(super) fn new(message: &str, data: Value) -> Self {
        let members = Map::from_iter([
            ("status".to_owned(), "success".into()),
            ("success".to_owned(), true.into()),
            ("data".to_owned(), data),
            ("error".to_owned(), Value::Null),
            ("message".to_owned(), message.into()),
        ]);
        let metadata = Map::from_iter([("status_code".to_owned(), 200.into())]);
        Self { status: StatusCode::OK, members, metadata, correlation_id: None }
    }

    /// A flat member.
    pub(super) fn flat(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.members.insert(key.to_owned(), value.into());
        self
    }

    /// A member of the envelope's metadata.
    pub(super) fn noting(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// Some of it went wrong.
    pub(super) fn partial(self, errors: Vec<Value>) -> Self {
        self.flat("status", "partial").flat("success", false).flat("error", errors)
    }

    /// To whom it goes.
    pub(super) fn to(mut self, correlation_id: Option<String>) -> Self {
        self.metadata.insert("correlation_id".to_owned(), correlation_id.clone().into());
        self.correlation_id = correlation_id;
        self
    }

    /// As the response.
    fn into_body(mut self) -> Value {
        self.members.insert("metadata".to_owned(), self.metadata.into());
        self.members.into()
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let (status, id) = (self.status, correlation_header(self.correlation_id.as_deref()));
        let mut response = json_response(&self.into_body());
        *response.status_mut() = status;
        if let Some(id) = id {
            response.headers_mut().insert(CORRELATION, id);
        }
        response
    }
}

/// A tree as a response of its own.
pub(super) fn json_response(body: &Value) -> Response {
    let mut response = body.to_string().into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Milliseconds since `started`, to the microsecond.
pub(super) fn elapsed_ms(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// The grade of a time.
pub(super) fn grade(took_ms: f64) -> &'static str {
    match took_ms {
        ..1.0 => "A",
        ..2.0 => "B",
        _ => "C",
    }
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
        "stamp_data": stamp_data(row),
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
pub(super) fn stamp_data(row: &Row) -> Value {
    let mut data = row.stamp_data.as_object().cloned().unwrap_or_default();
    data.insert("hash".to_owned(), row.file_hash.as_str().into());
    data.insert("namespace".to_owned(), row.namespace.as_str().into());
    data.insert("protocol_version".to_owned(), row.protocol_version.as_str().into());
    data.insert("file_metadata".to_owned(), row.file_metadata.clone());
    data.insert("intelligence_data".to_owned(), row.intelligence_data.clone());
    data.entry("timestamp").or_insert_with(|| Time::from(row.created_at).as_str().into());
    data.into()
}
