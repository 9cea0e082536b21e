//! What bridges have aggregated.

use super::Refusal;
use super::fields::{Fields, required};
use crate::model::operation::Bridge;

/// One aggregation, whose counters are added to those before.
pub(super) fn decode(data: Fields<'_>) -> Result<Bridge, Refusal> {
    let count = |field| required(field, data.count(field)?);
    Ok(Bridge {
        bridge_id: required("bridge_id", data.uuid("bridge_id")?)?,
        namespace: data.word("namespace", 255)?,
        total_workflows_processed: count("total_workflows_processed")?,
        total_items_aggregated: count("total_items_aggregated")?,
        current_fsm_state: data.word("current_fsm_state", 50)?,
        aggregation_metadata: data.extra("aggregation_metadata")?,
        last_aggregation_timestamp: data.time("last_aggregation_timestamp")?,
    })
}
