//! `POST /stamp` in both shapes, and `GET /stamp/{hash}`.

use std::time::Instant;

use axum::extract;
use axum::extract::rejection::PathRejection;
use axum::http::Uri;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::api::call::{Call, Document, Effort, Meter, work};
use crate::api::fields::namespace_word;
use crate::api::order::{Asked, Defaults, Given};
use crate::api::problem::{Code, Problem};
use crate::api::reply::{Reply, elapsed_ms, row};
use crate::api::routes::namespace::query;
use crate::api::{Api, State};
use crate::model::content::{Order, Row, Stamped};
use crate::model::digest::Digest;
use crate::model::onex_text::Time;

/// Stamps one content.
pub(in crate::api) async fn stamp(
    extract::State(api): extract::State<Api>,
    call: Call,
    meter: Meter,
    document: Document,
) -> Result<Reply, Problem> {
    let Document { mut fields, is_large, _seat, .. } = document;
    let (id, at) = (call.correlation_id.clone(), api.clock.now());
    let hashing = Instant::now();
    let asked = work(is_large, move || {
        let defaults = Defaults::take(&mut fields, id, at)?;
        Asked::take(&mut fields, &defaults)
    });
    let Asked { mut order, made, bytes, wants_intelligence } = asked.await?;
    api.counts.hashed(hashing);
    if wants_intelligence {
        enrich(&api, &mut order).await;
    }
    let (id, content_hash) = (order.correlation_id.clone(), order.content_hash);
    let stamped = stamp_one(&api, order).await?;
    let published = match (&api.published, stamped.event) {
        (Some(published), Some(event)) => published(event).await,
        (None, _) | (_, None) => false,
    };
    let (stamped, given) = work(is_large, move || {
        let given = made.map(|made| made.give(&stamped.row)).unwrap_or_default();
        (stamped, given)
    })
    .await;
    api.counts.done("stamp", call.started);
    let row = &*stamped.row;
    let reply =
        Reply::new("stamped", Data::of(row, &given, content_hash, meter.performance(bytes)))
            .flat("file_hash", row.file_hash.as_str())
            .flat("stamp_id", row.id.to_string())
            .stamp_data(row)
            .flat("execution_time_ms", elapsed_ms(call.started) as u64)
            .flat("kafka_event_published", published)
            .flat("correlation_id", id.clone())
            .noting("operation", "create_stamp")
            .noting("namespace", row.namespace.as_str())
            .noting("protocol_version", row.protocol_version.as_str());
    let is_degraded = row.intelligence_data["degraded"] == true;
    let reply = if is_degraded { reply.flat("degraded", true) } else { reply };
    Ok(reply.to(id))
}

/// Lets an order say what is said of its content, where its caller said nothing.
async fn enrich(api: &State, order: &mut Order) {
    let Some(enricher) = api.enricher.as_ref().filter(|_| order.intelligence.is_empty()) else {
        return;
    };
    let named = order.path.as_deref().or(order.content_type.as_deref());
    order.intelligence = enricher.ask(&order.digest, named.unwrap_or("content")).await;
}

async fn stamp_one(api: &State, order: Order) -> Result<Stamped, Problem> {
    let mut answers = api.backend.stamp(vec![order], &api.counts).await?;
    let stamped = answers.pop().expect("there is an answer to every order")?;
    api.counts.stamped(usize::from(stamped.fresh));
    Ok(stamped)
}

/// What came of it, in the envelope.
#[derive(Serialize)]
struct Data<'a> {
    content_hash: Option<Digest>,
    content_type: Option<&'a str>,
    created_at: Time,
    file_hash: &'a str,
    file_path: Option<&'a str>,
    file_size: Option<i64>,
    metadata_version: &'a str,
    namespace: &'a str,
    op_id: Option<Uuid>,
    performance_metrics: Effort,
    protocol_version: &'a str,
    stamp: Option<&'a str>,
    stamp_id: Uuid,
    stamp_type: Option<&'static str>,
    stamped_content: Option<&'a str>,
    success: bool,
    version: i32,
}

impl<'a> Data<'a> {
    fn of(
        row: &'a Row,
        given: &'a Given,
        content_hash: Option<Digest>,
        performance_metrics: Effort,
    ) -> Self {
        Self {
            content_hash,
            content_type: row.content_type.as_deref(),
            created_at: row.created_at.into(),
            file_hash: &row.file_hash,
            file_path: row.file_path.as_deref(),
            file_size: row.file_size,
            metadata_version: &row.metadata_version,
            namespace: &row.namespace,
            op_id: row.op_id,
            performance_metrics,
            protocol_version: &row.protocol_version,
            stamp: given.stamp.as_deref(),
            stamp_id: row.id,
            stamp_type: given.stamp_type,
            stamped_content: given.content.as_deref(),
            success: true,
            version: row.version,
        }
    }
}

/// What is held under a hash.
pub(in crate::api) async fn held(
    extract::State(api): extract::State<Api>,
    call: Call,
    hash: Result<extract::Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Reply, Problem> {
    let digest = hash.ok().and_then(|extract::Path(hash)| hash.parse::<Digest>().ok());
    // Clients tolerate a 404 here and nothing else.
    let digest = digest.ok_or_else(not_held)?;
    let query = query(&uri)?;
    let namespace = query.get("namespace").map(String::as_str);
    if let Some(namespace) = namespace {
        namespace_word(namespace)?;
    }
    let path = query.get("file_path").map(String::as_str);
    let rows = api.backend.find(&digest, namespace, path, &api.counts).await?;
    let newest = rows.first().ok_or_else(not_held)?;
    api.counts.done("get_stamp", call.started);
    let reply = Reply::new("found", row(newest))
        .flat("file_hash", newest.file_hash.as_str())
        .flat("stamp_id", newest.id.to_string())
        .stamp_data(newest)
        .noting("operation", "get_stamp")
        .noting("namespace", newest.namespace.as_str())
        .noting("occurrences", rows.iter().map(row).collect::<Vec<Value>>());
    Ok(reply.to(call.correlation_id))
}

fn not_held() -> Problem {
    Problem::new(Code::StampNotFound, "no stamp is held under that hash")
}
