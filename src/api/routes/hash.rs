//! `POST /hash`: the digest of exact bytes, from JSON or from a form's file.
//!
//! A file is hashed as it comes and never held.

use std::time::Instant;

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{self, DefaultBodyLimit, FromRequest as _, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::api::call::{Call, Document, work};
use crate::api::fields::namespace_word;
use crate::api::order::content_required;
use crate::api::problem::{Code, Problem};
use crate::api::reply::{Reply, elapsed_ms, grade};
use crate::api::routes::namespace::query;
use crate::api::{Api, State};
use crate::model::digest::{Digest, Digester};

/// Bytes of a file.
pub(in crate::api) const FILE_BYTES_MAX: u64 = 500 << 20;

/// Bytes of a form's other fields.
pub(in crate::api) const FIELD_BYTES_MAX: usize = 1_024;

/// Fields of a form.
pub(in crate::api) const FIELDS_MAX: usize = 32;

/// What was hashed.
struct Hashed {
    digest: Digest,
    bytes: u64,
}

/// What came of it, in the envelope.
#[derive(Serialize)]
struct Data<'a> {
    execution_time_ms: f64,
    file_hash: &'a str,
    file_size_bytes: u64,
    hash: &'a str,
    performance_grade: &'static str,
}

/// Hashes what is sent.
pub(in crate::api) async fn hash(
    extract::State(api): extract::State<Api>,
    call: Call,
    request: Request,
) -> Result<Reply, Problem> {
    if let Some(namespace) = query(request.uri())?.get("namespace") {
        namespace_word(namespace)?;
    }
    let started = Instant::now();
    let hashed = if is_form(&request) {
        of_form(request, &api).await?
    } else {
        of_document(Document::from_request(request, &api).await?).await?
    };
    api.counts.hashed(started);
    api.counts.done("hash", call.started);
    let (took_ms, hash) = (elapsed_ms(started), hashed.digest.to_string());
    let data = Data {
        execution_time_ms: took_ms,
        file_hash: &hash,
        file_size_bytes: hashed.bytes,
        hash: &hash,
        performance_grade: grade(took_ms),
    };
    let reply = Reply::new("hashed", data).flat("file_hash", &hash);
    Ok(reply.noting("operation", "generate_hash").to(call.correlation_id))
}

/// Whatever is no form is read as JSON: old callers name no type, or a wrong one.
fn is_form(request: &Request) -> bool {
    let media = request.headers().get(CONTENT_TYPE).and_then(|media| media.to_str().ok());
    media.is_some_and(|media| media.to_ascii_lowercase().starts_with("multipart/form-data"))
}

async fn of_document(document: Document) -> Result<Hashed, Problem> {
    let Document { mut fields, is_large, _seat, .. } = document;
    work(is_large, move || {
        fields.namespace_word("namespace")?;
        let content = content_required(&mut fields)?;
        Ok(Hashed { digest: Digest::of(content.as_bytes()), bytes: content.len() as u64 })
    })
    .await
}

async fn of_form(mut request: Request, api: &State) -> Result<Hashed, Problem> {
    // The limits are those of a field and of a file.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut form = Multipart::from_request(request, api)
        .await
        .map_err(|_| Problem::new(Code::ValidationError, "the form has no boundary"))?;
    let mut hashed = None;
    let mut fields = 0;
    while let Some(field) = form.next_field().await.map_err(|error| broken(&error))? {
        fields += 1;
        if fields > FIELDS_MAX {
            return Err(Problem::new(Code::ValidationError, "the form has more than 32 fields"));
        }
        match field.name() {
            Some("file") if hashed.is_none() => hashed = Some(of_file(field).await?),
            Some("file") => return Err(Problem::field("file", "must come once")),
            Some("namespace") => namespace_word(&text_of(field).await?)?,
            _ => drop(text_of(field).await?),
        }
    }
    hashed.ok_or_else(|| Problem::field("file", "is required"))
}

async fn of_file(mut field: Field<'_>) -> Result<Hashed, Problem> {
    let mut digester = Digester::default();
    let mut bytes = 0;
    while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error))? {
        bytes += chunk.len() as u64;
        if bytes > FILE_BYTES_MAX {
            return Err(Problem::new(Code::ContentTooLarge, "the file is larger than 500 MiB"));
        }
        digester.update(&chunk);
    }
    Ok(Hashed { digest: digester.finish(), bytes })
}

async fn text_of(mut field: Field<'_>) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error))? {
        if bytes.len() + chunk.len() > FIELD_BYTES_MAX {
            let message = "a field of the form is larger than 1024 bytes";
            return Err(Problem::new(Code::ValidationError, message));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes)
        .map_err(|_| Problem::new(Code::ValidationError, "a field of the form is not UTF-8"))
}

/// The body failed, or what it holds is no form.
fn broken(error: &MultipartError) -> Problem {
    match Problem::of_body(error) {
        problem if problem.code == Code::BadRequest => {
            Problem::new(Code::ValidationError, "the form is cut or is no multipart/form-data")
        }
        problem => problem,
    }
}
