//! `GET /namespace/{namespace}`: what is held in a namespace, page by page.

use std::collections::BTreeMap;

use axum::extract;
use axum::extract::rejection::PathRejection;
use axum::http::Uri;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::call::Call;
use crate::api::fields::namespace_word;
use crate::api::problem::{Code, Problem};
use crate::api::reply::{Reply, row};

/// Rows of a page, where none are asked for.
pub(in crate::api) const LIMIT: u64 = 50;

/// Rows of a page, at most.
pub(in crate::api) const LIMIT_MAX: u64 = 1_000;

/// A page of a namespace, newest first.
pub(in crate::api) async fn page(
    extract::State(api): extract::State<Api>,
    call: Call,
    namespace: Result<extract::Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Reply, Problem> {
    let namespace = namespace.map(|extract::Path(word)| word).unwrap_or_default();
    namespace_word(&namespace)?;
    let query = query(&uri)?;
    let limit = number(&query, "limit", LIMIT)?;
    if limit == 0 || limit > LIMIT_MAX {
        return Err(Problem::field("limit", "must be 1 to 1000"));
    }
    let offset = number(&query, "offset", 0)?;
    let (total, rows) = api.backend.page(&namespace, limit as u32, offset, &api.counts).await?;
    api.counts.done("namespace", call.started);
    let stamps: Vec<Value> = rows.iter().map(row).collect();
    let has_more = !stamps.is_empty() && offset + (stamps.len() as u64) < total;
    let data = json!({
        "namespace": namespace,
        "total_stamps": total,
        "pagination": {"limit": limit, "offset": offset, "total": total, "has_more": has_more},
        "stamps": stamps,
    });
    let reply = Reply::new("listed", data).flat("namespace", namespace).flat("total_stamps", total);
    Ok(reply.noting("operation", "query_namespace").to(call.correlation_id))
}

/// A query by its names. The first of several counts, and none may hold U+0000.
pub(in crate::api) fn query(uri: &Uri) -> Result<BTreeMap<String, String>, Problem> {
    let pairs = extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| Problem::new(Code::ValidationError, "the query is not name=value pairs"))?;
    let mut query = BTreeMap::new();
    for (name, value) in pairs.0 {
        if value.contains('\0') {
            return Err(Problem::new(Code::ValidationError, "the query holds U+0000"));
        }
        query.entry(name).or_insert(value);
    }
    Ok(query)
}

fn number(query: &BTreeMap<String, String>, name: &str, otherwise: u64) -> Result<u64, Problem> {
    let Some(text) = query.get(name) else { return Ok(otherwise) };
    // What is skipped is counted in 64 bits with a sign.
    let number = text.parse().ok().filter(|number| i64::try_from(*number).is_ok());
    number.ok_or_else(|| Problem::field(name, "must be an integer of 0 or more"))
}
