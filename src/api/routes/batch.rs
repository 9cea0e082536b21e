//! `POST /batch`: up to a thousand stamps of either shape, each of which succeeds or fails by itself.

use std::time::Instant;

use axum::extract;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::api::call::{Call, Document, Effort, Meter, work};
use crate::api::fields::Fields;
use crate::api::json::holds_nul;
use crate::api::order::{Asked, CONTENT_BYTES_MAX, Defaults};
use crate::api::problem::{Code, Problem};
use crate::api::reply::{Reply, elapsed_ms, grade};
use crate::api::{Api, State};
use crate::model::content::{Order, Stamped};
use crate::runtime::time::Timestamp;

/// Items of a batch.
pub(in crate::api) const ITEMS_MAX: usize = 1_000;

/// Characters of an item's id.
const ID_CHARS_MAX: usize = 255;

/// An item as it was understood.
struct Item {
    id: String,
    bytes: u64,
    order: Result<Order, Problem>,
}

/// What became of an item.
struct Told {
    id: String,
    bytes: u64,
    outcome: Result<Stamped, Problem>,
}

/// Stamps what can be stamped.
pub(in crate::api) async fn batch(
    extract::State(api): extract::State<Api>,
    call: Call,
    meter: Meter,
    document: Document,
) -> Result<Reply, Problem> {
    let Document { fields, is_large, has_nul, _seat } = document;
    let (id, at) = (call.correlation_id.clone(), api.clock.now());
    let (id, items) = work(is_large, move || understand(fields, id, at, has_nul)).await?;
    let told = stamp(&api, items).await?;
    api.counts.done("batch", call.started);
    let failed = told.iter().filter(|told| told.outcome.is_err()).count();
    let reply = Reply::new("batch done", data_of(&told, failed, call.started, &meter));
    let reply = if failed == 0 { reply } else { reply.partial(errors_of(&told)) };
    Ok(reply.noting("operation", "batch_stamp").to(id))
}

fn understand(
    mut fields: Fields,
    correlation_id: Option<String>,
    at: Timestamp,
    has_nul: bool,
) -> Result<(Option<String>, Vec<Item>), Problem> {
    let items = fields.array("items")?.ok_or_else(|| Problem::field("items", "is required"))?;
    if items.is_empty() {
        return Err(Problem::new(Code::EmptyBatchRequest, "the batch is empty"));
    }
    if items.len() > ITEMS_MAX {
        return Err(Problem::new(Code::BatchTooLarge, "the batch has more than 1000 items"));
    }
    let length = |item: &Value| item.get("content").and_then(Value::as_str).map_or(0, str::len);
    if items.iter().map(length).sum::<usize>() > CONTENT_BYTES_MAX {
        let message = "the contents of the batch are larger than 100 MiB in all";
        return Err(Problem::new(Code::BatchTooLarge, message));
    }
    let defaults = Defaults::take(&mut fields, correlation_id, at)?;
    let read = |(index, item)| {
        let fault = (has_nul && holds_nul(&item)).then_some("must not hold U+0000");
        Item::read(index, item, fault, &defaults)
    };
    let items = items.into_iter().enumerate().map(read).collect();
    Ok((defaults.correlation_id, items))
}

impl Item {
    /// An item without an id is known by its index.
    fn read(index: usize, item: Value, fault: Option<&str>, defaults: &Defaults) -> Self {
        let rule = fault.unwrap_or("must be an object");
        let problem = Problem::field(format!("items[{index}]"), rule);
        let mut read = Self { id: index.to_string(), bytes: 0, order: Err(problem) };
        if fault.is_none()
            && let Ok(mut fields) = Fields::of(item)
        {
            read.order = read.fill(&mut fields, defaults);
        }
        read
    }

    /// Only the order is kept: a batch's reply has no room for contents.
    fn fill(&mut self, fields: &mut Fields, defaults: &Defaults) -> Result<Order, Problem> {
        if let Some(id) = fields.loose_text("id")? {
            self.id = id.chars().take(ID_CHARS_MAX).collect();
        }
        let asked = Asked::take(fields, defaults)?;
        self.bytes = asked.bytes;
        Ok(asked.order)
    }
}

/// Stamps the good ones together.
async fn stamp(api: &State, items: Vec<Item>) -> Result<Vec<Told>, Problem> {
    let mut orders = Vec::with_capacity(items.len());
    let mut waiting = Vec::with_capacity(items.len());
    for Item { id, bytes, order } in items {
        let refused = order.map(|order| orders.push(order)).err();
        waiting.push((id, bytes, refused));
    }
    let answers = match orders.len() {
        0 => Vec::new(),
        _ => api.backend.stamp(orders, &api.counts).await?,
    };
    let mut answers = answers.into_iter();
    let told: Vec<Told> = waiting
        .into_iter()
        .map(|(id, bytes, refused)| {
            let outcome = match refused {
                Some(problem) => Err(problem),
                None => answers.next().expect("there is an answer to every order"),
            };
            Told { id, bytes, outcome }
        })
        .collect();
    let is_fresh = |told: &&Told| told.outcome.as_ref().is_ok_and(|stamped| stamped.fresh);
    api.counts.stamped(told.iter().filter(is_fresh).count());
    Ok(told)
}

/// What came of it, in the envelope.
#[derive(Serialize)]
struct Data<'a> {
    failed: usize,
    failed_items: usize,
    overall_performance: Effort,
    results: Vec<Done<'a>>,
    successful: usize,
    successful_items: usize,
    total: usize,
    total_items: usize,
}

/// What came of an item.
#[derive(Serialize)]
struct Done<'a> {
    error: Option<&'a str>,
    error_code: Option<&'static str>,
    file_hash: Option<&'a str>,
    id: &'a str,
    performance_metrics: Share,
    stamp: Option<&'a Value>,
    stamp_id: Option<Uuid>,
    success: bool,
}

/// An item's share of how the batch did.
#[derive(Serialize)]
struct Share {
    execution_time_ms: f64,
    file_size_bytes: u64,
    performance_grade: &'static str,
}

fn data_of<'a>(told: &'a [Told], failed: usize, started: Instant, meter: &Meter) -> Data<'a> {
    let each_ms = elapsed_ms(started) / f64::from(u16::try_from(told.len()).unwrap_or(u16::MAX));
    let (total, bytes) = (told.len(), told.iter().map(|told| told.bytes).sum());
    let successful = total - failed;
    Data {
        failed,
        failed_items: failed,
        overall_performance: meter.performance(bytes),
        results: told.iter().map(|told| told.to_done(each_ms)).collect(),
        successful,
        successful_items: successful,
        total,
        total_items: total,
    }
}

fn errors_of(told: &[Told]) -> Vec<Value> {
    let errors = told.iter().filter_map(|told| {
        let mut error = told.outcome.as_ref().err()?.to_item();
        error["id"] = told.id.as_str().into();
        Some(error)
    });
    errors.collect()
}

impl Told {
    /// `share_ms` is this item's share of the batch's time.
    fn to_done(&self, share_ms: f64) -> Done<'_> {
        let stamped = self.outcome.as_ref().ok();
        let problem = self.outcome.as_ref().err();
        let row = stamped.map(|stamped| &*stamped.row);
        Done {
            error: problem.map(|problem| problem.message.as_str()),
            error_code: problem.map(|problem| problem.code.as_str()),
            file_hash: row.map(|row| row.file_hash.as_str()),
            id: &self.id,
            performance_metrics: Share {
                execution_time_ms: share_ms,
                file_size_bytes: self.bytes,
                performance_grade: grade(share_ms),
            },
            stamp: row.and_then(|row| row.stamp_data.get("stamp")),
            stamp_id: row.map(|row| row.id),
            success: stamped.is_some(),
        }
    }
}
