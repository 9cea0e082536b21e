//! `GET /health…`: whether requests can be answered, and by which parts.

use std::time::Instant;

use axum::extract;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::api::call::Call;
use crate::api::problem::{Code, Problem};
use crate::api::reply::{Reply, elapsed_ms, json_response};
use crate::api::{Api, Component, State};

struct Health {
    healthy: bool,
    ready: bool,
    components: Map<String, Value>,
}

/// At the root, as old load balancers read it: `status` is the health itself.
pub(in crate::api) async fn flat(extract::State(api): extract::State<Api>) -> Response {
    let health = look(&api).await;
    json_response(&json!({
        "status": word(health.healthy),
        "service": "stampd",
        "version": crate::VERSION,
        "components": health.components,
        "uptime_seconds": api.started.elapsed().as_secs_f64(),
    }))
}

/// Below the prefix, in the envelope.
pub(in crate::api) async fn enveloped(
    extract::State(api): extract::State<Api>,
    call: Call,
) -> Reply {
    let health = look(&api).await;
    let data = json!({
        "status": word(health.healthy),
        "components": health.components,
        "uptime_seconds": api.started.elapsed().as_secs_f64(),
        "version": crate::VERSION,
    });
    Reply::new(word(health.healthy), data).to(call.correlation_id)
}

/// The process answers.
pub(in crate::api) async fn live(call: Call) -> Reply {
    Reply::new("alive", json!({"status": "alive"})).to(call.correlation_id)
}

/// Stamps can be made.
pub(in crate::api) async fn ready(
    extract::State(api): extract::State<Api>,
    call: Call,
) -> Result<Reply, Problem> {
    let health = look(&api).await;
    if !health.ready {
        let message = "not ready: what holds the stamps cannot be reached";
        return Err(Problem::new(Code::DatabaseUnavailable, message));
    }
    let data = json!({"status": "ready", "components": health.components});
    Ok(Reply::new("ready", data).to(call.correlation_id))
}

const fn word(healthy: bool) -> &'static str {
    if healthy { "healthy" } else { "degraded" }
}

async fn look(api: &State) -> Health {
    let mut health = Health { healthy: true, ready: true, components: Map::new() };
    let asked = Instant::now();
    let healthy = api.backend.ping(&api.counts).await.is_ok();
    let own = Component { name: api.backend.name(), healthy, vital: true, details: json!({}) };
    health.take(&own, asked);
    if let Some(enricher) = &api.enricher {
        let healthy = !enricher.is_degraded();
        let details = json!({});
        let part = Component { name: "intelligence", healthy, vital: false, details };
        health.take(&part, Instant::now());
    }
    for probe in &api.probes {
        let asked = Instant::now();
        health.take(&probe().await, asked);
    }
    health
}

impl Health {
    fn take(&mut self, component: &Component, asked: Instant) {
        self.healthy &= component.healthy;
        self.ready &= component.healthy || !component.vital;
        let entry = json!({
            "status": if component.healthy { "healthy" } else { "unhealthy" },
            "response_time_ms": elapsed_ms(asked),
            "details": component.details,
        });
        self.components.insert(component.name.to_owned(), entry);
    }
}
