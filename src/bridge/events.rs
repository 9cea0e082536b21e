//! What requests and health ask of the publisher.

use std::time::Duration;

use serde_json::json;

use crate::api::{Component, Probe, Published};
use crate::outbox::{Publisher, Road};

/// Whether an event was delivered within `wait`.
pub(super) fn published(publisher: Publisher, wait: Duration) -> Published {
    std::sync::Arc::new(move |row| {
        let publisher = publisher.clone();
        Box::pin(async move { publisher.published(row, wait).await })
    })
}

/// How the publisher does. No request fails while Kafka is away: events wait in the outbox.
pub(super) fn probe(publisher: Publisher) -> Probe {
    std::sync::Arc::new(move || {
        let status = publisher.status();
        Box::pin(async move {
            let road = match &status.road {
                Road::Unknown => "unknown",
                Road::Open => "open",
                Road::Closed(_) => "closed",
            };
            Component {
                name: "kafka",
                healthy: !matches!(status.road, Road::Closed(_)),
                vital: false,
                details: json!({ "road": road, "outbox_depth": status.depth.entries }),
            }
        })
    })
}
