//! What every request has beside its body: a start and the caller's id for it; and the body, read to
//! a limit.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Api;
use super::fields::Fields;
use super::json::{Parsed, holds_nul, parse};
use super::problem::{Code, Problem};
use super::reply::{elapsed_ms, grade};

/// The header of the caller's id.
pub(crate) const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");

/// Characters of a caller's id.
pub(super) const CORRELATION_CHARS_MAX: usize = 255;

/// Bytes of a JSON body: the largest content or batch, and room for escapes.
pub(super) const BODY_BYTES_MAX: usize = 128 << 20;

/// Bodies up to here are read, parsed and hashed where they arrive; larger ones wait for a seat and
/// are worked on beside the requests' threads.
pub(super) const SMALL_BYTES_MAX: usize = 256 << 10;

/// How long a large body waits for a seat.
const SEAT_PATIENCE: Duration = Duration::from_secs(10);

/// A request's own.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The caller's id, where it gave one.
    pub(crate) correlation_id: Option<String>,
    /// When it came.
    pub(crate) started: Instant,
}

impl Call {
    fn new(correlation_id: Option<String>) -> Self {
        Self { correlation_id, started: Instant::now() }
    }
}

/// For the routes whose replies tell how they did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    started: Instant,
    cpu_usage_percent: f64,
}

impl Meter {
    /// How the request did.
    pub(super) fn performance(&self, bytes: u64) -> Effort {
        let took_ms = elapsed_ms(self.started);
        Effort {
            cpu_usage_percent: self.cpu_usage_percent,
            execution_time_ms: took_ms,
            file_size_bytes: bytes,
            performance_grade: grade(took_ms),
        }
    }
}

/// How a request did, as its reply tells.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Effort {
    /// Of one processor, by the whole process, lately.
    cpu_usage_percent: f64,
    execution_time_ms: f64,
    file_size_bytes: u64,
    performance_grade: &'static str,
}

impl FromRequestParts<Api> for Meter {
    type Rejection = Infallible;

    async fn from_request_parts(_parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        let started = Instant::now();
        Ok(Self { started, cpu_usage_percent: api.usage.percent(started) })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(header) = parts.headers.get(&CORRELATION) else { return Ok(Self::new(None)) };
        let text = header.to_str().ok();
        let id = text.ok_or_else(|| Problem::field("X-Correlation-ID", "must be plain ASCII"))?;
        Ok(Self::new(correlation_id(id.to_owned())?))
    }
}

/// A caller's id, from its header or its body; an empty one is none.
pub(super) fn correlation_id(id: String) -> Result<Option<String>, Problem> {
    if id.chars().count() > CORRELATION_CHARS_MAX || id.chars().any(char::is_control) {
        let rule = "must be at most 255 characters without control characters";
        return Err(Problem::field("correlation_id", rule));
    }
    Ok((!id.is_empty()).then_some(id))
}

/// A caller's id as a header, where it can be one.
pub(super) fn correlation_header(id: Option<&str>) -> Option<HeaderValue> {
    id.filter(|id| id.is_ascii()).and_then(|id| HeaderValue::from_str(id).ok())
}

/// Echoes the header that a request came with, also on what is no good reply.
pub(crate) fn return_id(response: &mut Response, id: Option<HeaderValue>) {
    if let Some(id) = id {
        response.headers_mut().entry(CORRELATION).or_insert(id);
    }
}

/// A JSON object that was sent.
#[derive(Debug)]
pub(super) struct Document {
    /// Its members.
    pub(super) fields: Fields,
    /// Whether it is to be worked on beside the requests' threads.
    pub(super) is_large: bool,
    /// Whether an item of its `items` holds U+0000; nothing else does.
    pub(super) has_nul: bool,
    /// Held by a large one until its reply is made.
    pub(super) _seat: Option<OwnedSemaphorePermit>,
}

impl FromRequest<Api> for Document {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (bytes, seat) = read(request.into_body(), &api.seats).await?;
        let is_large = bytes.len() > SMALL_BYTES_MAX;
        let parsed = work(is_large, move || parse(&bytes)).await;
        let Parsed { tree, has_nul } =
            parsed.map_err(|error| Problem::new(Code::ValidationError, error.to_string()))?;
        if has_nul && holds_nul_beside_items(&tree) {
            return Err(Problem::new(Code::ValidationError, "a text holds U+0000"));
        }
        Ok(Self { fields: Fields::of(tree)?, is_large, has_nul, _seat: seat })
    }
}

/// An item of a batch answers for itself, so that its neighbours are stamped.
fn holds_nul_beside_items(tree: &Value) -> bool {
    let Value::Object(members) = tree else { return holds_nul(tree) };
    let is_batch = |key: &str, value: &Value| key == "items" && value.is_array();
    members
        .iter()
        .any(|(key, value)| key.contains('\0') || (!is_batch(key, value) && holds_nul(value)))
}

/// Reads a whole body. From the moment that it turns out to be large it has a seat, so that all
/// bodies together are bounded.
async fn read(
    mut body: Body,
    seats: &Arc<Semaphore>,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Problem> {
    let announced = body.size_hint().lower();
    if announced > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut seat = None;
    if announced > SMALL_BYTES_MAX as u64 {
        seat = Some(take_seat(seats).await?);
    }
    let mut bytes = Vec::with_capacity(announced as usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::of_body(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        if bytes.len() + data.len() > SMALL_BYTES_MAX && seat.is_none() {
            seat = Some(take_seat(seats).await?);
        }
        bytes.extend_from_slice(data);
    }
    Ok((bytes, seat))
}

fn too_large() -> Problem {
    let limit = BODY_BYTES_MAX >> 20;
    Problem::new(Code::ContentTooLarge, format!("the body is larger than {limit} MiB"))
}

async fn take_seat(seats: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    let seat = tokio::time::timeout(SEAT_PATIENCE, Arc::clone(seats).acquire_owned()).await;
    let seat = seat.map_err(|_| {
        Problem::new(Code::Overloaded, "too many large requests at once: send it again later")
    })?;
    Ok(seat.expect("the seats are never closed"))
}

/// Does what takes long beside the requests' threads.
pub(super) async fn work<T: Send + 'static>(
    is_long: bool,
    job: impl FnOnce() -> T + Send + 'static,
) -> T {
    if !is_long {
        return job();
    }
    match tokio::task::spawn_blocking(job).await {
        Ok(done) => done,
        // It is never aborted, so it panicked: as it would have done here.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
