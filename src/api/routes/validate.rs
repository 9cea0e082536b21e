//! `POST /validate`: whether the stamps in a text hold.

use axum::extract;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::call::{Call, Document, Effort, Meter, work};
use crate::api::order::content_required;
use crate::api::problem::Problem;
use crate::api::reply::Reply;
use crate::model::onex_text::{self, Check, Rules};

/// Finds and checks stamps. A text without any is no error.
pub(in crate::api) async fn validate(
    extract::State(api): extract::State<Api>,
    call: Call,
    meter: Meter,
    document: Document,
) -> Result<Reply, Problem> {
    let Document { mut fields, is_large, _seat, .. } = document;
    let checked = work(is_large, move || {
        let content = content_required(&mut fields)?;
        fields.namespace_word("namespace")?;
        let mut options = fields.options()?;
        // Tampering is always looked for: it is why a stamp does not hold.
        options.switch("check_tampering")?;
        let strict = options.switch("strict_mode")?.unwrap_or(false);
        let expected = options.digest("expected_hash")?.map(|digest| digest.to_string());
        let rules = Rules { strict, expected_hash: expected.as_deref() };
        Ok::<_, Problem>((content.len() as u64, onex_text::check(&content, rules)))
    });
    let (bytes, check) = checked.await?;
    api.counts.done("validate", call.started);
    let message = if check.holds { "valid" } else { "not valid" };
    let reply = Reply::new(message, data_of(&check, meter.performance(bytes)))
        .flat("is_valid", check.holds)
        .flat("current_hash", check.current_hash.to_string());
    Ok(reply.noting("operation", "validate_stamps").to(call.correlation_id))
}

fn data_of(check: &Check, performance: Effort) -> Value {
    json!({
        "success": true,
        "is_valid": check.holds,
        "stamps_found": check.found,
        "current_hash": check.current_hash,
        "validation_details": check.details,
        "performance_metrics": performance,
    })
}
