//! Workflows: their beginning and their end.

use uuid::Uuid;

use super::fields::required;
use super::{Message, Refusal};
use crate::model::operation::{Finished, Started};

/// A workflow began.
pub(super) fn started(message: &Message<'_>) -> Result<Started, Refusal> {
    let data = message.data;
    Ok(Started {
        correlation_id: correlation_id(message)?,
        workflow_type: data.word("workflow_type", 100)?,
        current_state: data.word("current_state", 50)?,
        namespace: data.word("namespace", 255)?,
        started_at: data.time("started_at")?,
        metadata: data.extra("metadata")?,
    })
}

/// A workflow ended.
pub(super) fn finished(message: &Message<'_>) -> Result<Finished, Refusal> {
    let data = message.data;
    Ok(Finished {
        correlation_id: correlation_id(message)?,
        current_state: data.word("current_state", 50)?,
        workflow_type: data.owned("workflow_type", 100)?,
        namespace: data.owned("namespace", 255)?,
        completed_at: data.time("completed_at")?,
        execution_time_ms: data.count("execution_time_ms")?,
        error_message: data.note("error_message", 2_000)?,
        metadata: data.extra("metadata")?,
    })
}

/// Published senders name the workflow beside the data as well as in it.
fn correlation_id(message: &Message<'_>) -> Result<Uuid, Refusal> {
    let own = message.data.uuid("correlation_id")?;
    let said = own.map_or_else(|| message.head.uuid("correlation_id"), |own| Ok(Some(own)))?;
    required("correlation_id", said)
}
