//! Heartbeats of nodes.

use super::Refusal;
use super::fields::Fields;
use crate::model::operation::Heartbeat;

/// One heartbeat.
pub(super) fn decode(data: Fields<'_>) -> Result<Heartbeat, Refusal> {
    Ok(Heartbeat {
        node_id: data.word("node_id", 255)?,
        health_status: data.word("health_status", 50)?,
        node_type: data.owned("node_type", 100)?,
        node_version: data.owned("node_version", 50)?,
        capabilities: data.object("capabilities")?,
        endpoints: data.object("endpoints")?,
        last_heartbeat: data.time("last_heartbeat")?,
        metadata: data.extra("metadata")?,
    })
}
