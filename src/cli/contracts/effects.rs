//! What the contracts of the effects must say, made from the numbers that the program runs by.
//!
//! Where an installation has a choice, namely in how its topics begin, a contract is taken at its
//! word: what it says of the first topic must hold for all.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::adapter::decode::{Refusal, VALUE_BYTES_MAX};
use crate::adapter::health::PATHS;
use crate::adapter::letters::SUFFIX;
use crate::adapter::route::{Slug, Topics};
use crate::adapter::{Reading, breaker};
use crate::api::limits::{GRADES, limits};
use crate::api::{self, Code};
use crate::model::envelope::EVENT_TYPES;
use crate::onextree::query;
use crate::runtime::http;
use crate::runtime::units::HumanDuration;
use crate::sink::kafka;
use crate::{adapter, bridge, config, enrich, onextree, outbox};

/// What the adapter writes.
const ADAPTER_TABLES: [&str; 11] = [
    "adapter_dead",
    "adapter_offsets",
    "bridge_states",
    "fsm_transitions",
    "gaps",
    "metadata_stamps",
    "node_registrations",
    "pending_steps",
    "stamp_events",
    "workflow_executions",
    "workflow_steps",
];

/// What the bridge writes.
const STAMPING_TABLES: [&str; 5] =
    ["metadata_stamps", "outbox", "stamp_events", "streams", "withheld"];

/// `effects/database_adapter_effect.yaml`.
pub(super) fn adapter(told: &Value) -> Value {
    let reading = Reading::default();
    let topics = topics_of(&told["kafka"]["consumes"]);
    json!({
        "schema_version": "2.0",
        "node_identity": identity("database_adapter_effect", "stampd adapter"),
        "performance_requirements": {
            "batch_rows_max": reading.batch_rows_max,
            "fetch_bytes_max": reading.fetch_bytes_max,
        },
        "input_state": {
            "value_bytes_max": VALUE_BYTES_MAX,
            "schemas": by_slug(|slug| format!("../schemas/{}.v1.json", slug.as_str()).into()),
        },
        "output_state": { "tables": ADAPTER_TABLES },
        "io_operations": adapter_operations(),
        "kafka": {
            "consumer_group": reading.group,
            "session_timeout_ms": millis(reading.session_timeout),
            "isolation_level": "read_committed",
            "partition_assignment_strategy": "cooperative-sticky",
            "dead_letter_suffix": SUFFIX,
            "consumes": consumed(&topics, &told["kafka"]["consumes"]),
            "produces": [topics.of("query-completed"), topics.of("query-failed")],
        },
        "error_handling": {
            "retry": retry(&reading.breaker),
            "circuit_breaker": circuit_breaker(&reading.breaker),
            "error_types": Refusal::CODES,
        },
        "health_checks": { "port": port("adapter"), "paths": PATHS },
        "monitoring": { "metrics": adapter::metric_names() },
    })
}

/// `effects/stamping_effect.yaml`.
pub(super) fn stamping(told: &Value) -> Value {
    let topics = topics_of(&told["kafka"]["produces"]);
    let (retry_first, retry_max) = outbox::RETRY;
    let publish_wait = config::usual("kafka", "publish_wait").and_then(|wait| wait.parse().ok());
    let HumanDuration(publish_wait) = publish_wait.expect("keys.rs gives it a duration");
    let codes = Code::ALL.map(|code| (code.as_str().to_owned(), code.status().as_u16().into()));
    json!({
        "schema_version": "2.0",
        "node_identity": identity("stamping_effect", "stampd bridge"),
        "performance_requirements": {
            "grades_below_ms": object(GRADES.map(|(grade, below)| (grade.to_owned(), below.into()))),
            "publish_wait_ms": millis(publish_wait),
            "connections_max": http::Config::default().connections_max,
        },
        "input_state": {
            "contract": "../openapi.yaml",
            "limits": object(limits().map(|(name, limit)| (name.to_owned(), limit.into()))),
        },
        "output_state": {
            "tables": STAMPING_TABLES,
            "event_types": EVENT_TYPES,
            "schema": "../schemas/stamp-created.v1.json",
        },
        "io_operations": stamping_operations(),
        "kafka": { "produces": [topics.of("metadata-stamp-created")] },
        "error_handling": {
            "codes": object(codes),
            "retry": {
                "backoff_first_ms": millis(retry_first),
                "backoff_max_ms": millis(retry_max),
            },
        },
        "health_checks": { "port": port("api"), "paths": watched_paths() },
        "monitoring": { "metrics": bridge::metric_names() },
    })
}

/// `effects/onextree_intelligence.yaml`.
pub(super) fn onextree() -> Value {
    let (pause_first, pause_max) = enrich::PAUSES;
    let codes =
        onextree::CODES.map(|code| (code.as_str().to_owned(), code.status().as_u16().into()));
    let limits = onextree::limits().into_iter().chain(enrich::limits());
    let metrics = onextree::metric_names().into_iter().chain(enrich::metric_names());
    json!({
        "schema_version": "2.0",
        "node_identity": identity("onextree_intelligence", "stampd run"),
        "performance_requirements": {
            "budget_ms": millis(enrich::Config::default().budget),
            "connections_max": http::Config::default().connections_max,
        },
        "input_state": {
            "contract": "../onextree.openapi.yaml",
            "limits": object(limits.map(|(name, limit)| (name.to_owned(), limit.into()))),
        },
        "output_state": {
            "degraded": { "degraded": true },
            "query_types": query::Kind::ALL.map(query::Kind::as_str),
        },
        "io_operations": onextree_operations(),
        // It is asked over HTTP, and tells nobody by itself.
        "kafka": { "consumes": [], "produces": [] },
        "error_handling": {
            "codes": object(codes),
            "retry": {
                "backoff_first_ms": millis(pause_first),
                "backoff_max_ms": millis(pause_max),
            },
        },
        "health_checks": { "port": port("onextree"), "paths": ["/health", "/metrics"] },
        "monitoring": { "metrics": metrics.collect::<Vec<_>>() },
    })
}

/// Each question by the words of its path.
fn onextree_operations() -> Value {
    let name = |path: &str| path.trim_start_matches('/').replace('/', "_");
    object(onextree::questions().into_iter().map(|path| (name(path), json!([path]))))
}

fn identity(name: &str, program: &str) -> Value {
    json!({ "name": name, "type": "effect", "program": program })
}

fn object(members: impl IntoIterator<Item = (String, Value)>) -> Value {
    members.into_iter().collect::<Map<_, _>>().into()
}

fn by_slug(of: impl Fn(Slug) -> Value) -> Value {
    object(Slug::ALL.map(|slug| (slug.as_str().to_owned(), of(slug))))
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// Where the section's listener is, if nobody says otherwise.
fn port(section: &str) -> Value {
    let listen = config::usual(section, "listen").expect("keys.rs gives it a default");
    listen.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).into()
}

fn operation_of(slug: Slug) -> &'static str {
    match slug {
        Slug::WorkflowStarted | Slug::WorkflowCompleted | Slug::WorkflowFailed => {
            "persist_workflow_execution"
        }
        Slug::StepCompleted => "persist_workflow_step",
        Slug::StampCreated => "persist_metadata_stamp",
        Slug::StateTransition => "persist_fsm_transition",
        Slug::StateAggregationCompleted => "persist_bridge_state",
        Slug::NodeHeartbeat => "update_node_heartbeat",
        Slug::QueryRequested => "answer_query",
    }
}

fn adapter_operations() -> Value {
    let mut operations = Map::new();
    for slug in Slug::ALL {
        let slugs = operations.entry(operation_of(slug)).or_insert_with(|| json!([]));
        slugs.as_array_mut().expect("it was made a list").push(slug.as_str().into());
    }
    operations.into()
}

fn stamping_operations() -> Value {
    let both = |at: &str| json!([at, format!("{}{at}", api::PREFIX)]);
    let mut operations = api::operations().map(|(name, at)| (name.to_owned(), both(at))).to_vec();
    let of_streams = api::paths().into_iter().filter(|path| path.starts_with("/api/v1/streams"));
    operations.push(("ingest".to_owned(), of_streams.collect()));
    object(operations)
}

/// Where health and metrics are told.
fn watched_paths() -> Vec<String> {
    let watched = |path: &String| path.contains("/health") || path.ends_with("/metrics");
    api::paths().into_iter().filter(watched).collect()
}

/// The installation whose topics a contract names; else the usual one.
fn topics_of(told: &Value) -> Topics {
    let mut named = told.as_array().into_iter().flatten().filter_map(Value::as_str);
    let usual = || Topics::beside(&kafka::Config::default().topic);
    let topics = named.find_map(Topics::beside).or_else(usual);
    topics.expect("the usual topic is spelled in the longer way")
}

/// Every topic in the longer spelling, and those of the shorter that a contract names rightly.
fn consumed(topics: &Topics, told: &Value) -> Vec<String> {
    let names = Slug::ALL.into_iter().flat_map(Slug::names);
    let mut consumed: Vec<String> = names.map(|name| topics.of(name)).collect();
    let told = told.as_array().into_iter().flatten().filter_map(Value::as_str);
    for topic in told.filter(|topic| topics.slug(topic).is_some()) {
        if !consumed.iter().any(|known| known == topic) {
            consumed.push(topic.to_owned());
        }
    }
    consumed
}

fn retry(config: &breaker::Config) -> Value {
    json!({
        "max_retries": config.retries,
        "backoff_first_ms": millis(config.backoff_first),
        "backoff_multiplier": config.backoff_factor,
    })
}

fn circuit_breaker(config: &breaker::Config) -> Value {
    json!({
        "failure_threshold": config.failures,
        "recovery_timeout_ms": millis(config.open_for),
        "half_open_max_calls": config.probes,
        "success_threshold": config.successes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migrate::TABLES;

    #[test]
    fn the_tables_that_are_written_are_among_those_that_are_made() {
        for table in ADAPTER_TABLES.iter().chain(&STAMPING_TABLES) {
            assert!(TABLES.contains(table), "{table}");
        }
    }

    #[test]
    fn an_installation_of_another_name_is_taken_at_its_word() {
        let told =
            json!(["prod.acme.core.evt.node-heartbeat.v1", "dev.a.b.evt.workflow-started.v1"]);
        let topics = topics_of(&told);
        let consumed = consumed(&topics, &told);
        assert!(consumed.contains(&"prod.acme.core.evt.workflow-started.v1".to_owned()));
        assert!(!consumed.iter().any(|topic| topic.starts_with("dev.")));
    }
}
