//! What watches the deployment: every metric that the rules and the dashboard name is one of ours.

use std::collections::BTreeSet;

use serde_json::Value;
use stampd::{adapter, agent, bridge};

use super::text;

/// The metrics that the older services' dashboards know.
const OLDER: [&str; 11] = [
    "circuit_breaker_state",
    "connection_pool_size",
    "connection_pool_usage",
    "database_operation_duration_seconds",
    "database_operations_total",
    "hash_generation_duration_seconds",
    "kafka_events_published_total",
    "kafka_messages_consumed_total",
    "operation_errors_total",
    "stamp_operation_duration_seconds",
    "stamps_created_total",
];

/// Words of the language that stand where a metric could.
const WORDS: [&str; 3] = ["and", "by", "sum"];

/// Every expression of the rules and the dashboard.
fn expressions() -> Vec<String> {
    let rules: Value =
        serde_yaml_ng::from_str(&text("packaging/prometheus/stampd.rules.yaml")).unwrap();
    let dashboard: Value = serde_json::from_str(&text("packaging/grafana/stampd.json")).unwrap();
    let mut found = Vec::new();
    for document in [&rules, &dashboard] {
        collect(document, &mut found);
    }
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| collect(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// Takes out what stands between two marks, and the marks.
fn without(text: &str, open: &str, close: char) -> String {
    let mut pieces = text.split(open);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push(' ');
        out.push_str(piece.split_once(close).map_or("", |(_, rest)| rest));
    }
    out
}

/// The metrics that an expression names; of a histogram its own name.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    let plain = without(&without(&without(expression, "{", '}'), "[", ']'), "by (", ')');
    let mut names = BTreeSet::new();
    let mut rest = plain.as_str();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some(start) = rest.find(is_part) {
        let word = &rest[start..];
        let end = word.find(|c| !is_part(c)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        rest = after;
        let is_name = word.starts_with(|c: char| c.is_ascii_lowercase());
        if is_name && !after.starts_with('(') && !WORDS.contains(&word) {
            names.insert(word.strip_suffix("_bucket").unwrap_or(word).to_owned());
        }
    }
    names
}

/// Every metric of ours that is named; `up` is Prometheus's own.
pub(super) fn named() -> BTreeSet<String> {
    let mut named: BTreeSet<String> =
        expressions().iter().flat_map(|expression| metrics_of(expression)).collect();
    assert!(named.remove("up"), "whether a process answers is looked at");
    named
}

#[test]
fn the_metrics_of_an_expression_are_found_among_its_other_words() {
    let check = |expression: &str, names: &[&str]| {
        assert_eq!(metrics_of(expression).into_iter().collect::<Vec<_>>(), names);
    };
    check(
        "histogram_quantile(0.9, sum by (le) (rate(a_seconds_bucket{b=\"c\"}[5m]))) > 1",
        &["a_seconds"],
    );
    check("a_depth > 1000 and deriv(b_depth[10m]) > 0", &["a_depth", "b_depth"]);
}

#[test]
fn every_metric_that_is_named_is_registered_by_the_program_and_the_older_ones_are_shown() {
    let mut ours = bridge::metric_names();
    ours.extend(adapter::metric_names());
    ours.extend(agent::metric_names());
    let named = named();
    let foreign: Vec<_> = named.difference(&ours).collect();
    assert!(foreign.is_empty(), "{foreign:?} are emitted by nothing");
    for name in OLDER {
        assert!(named.contains(name), "{name} is not shown");
    }
}

#[test]
fn every_alarm_says_how_grave_it_is_and_what_to_do() {
    let rules: Value =
        serde_yaml_ng::from_str(&text("packaging/prometheus/stampd.rules.yaml")).unwrap();
    for rule in rules["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("a group has rules"))
    {
        let name = rule["alert"].as_str().expect("a rule is an alarm");
        let grave = rule["labels"]["severity"].as_str();
        assert!(matches!(grave, Some("page" | "ticket")), "{name}");
        for part in ["summary", "description"] {
            assert!(rule["annotations"][part].is_string(), "{name} has no {part}");
        }
    }
}

#[test]
fn what_is_scraped_is_what_the_deployment_publishes() {
    let config: Value =
        serde_yaml_ng::from_str(&text("packaging/prometheus/prometheus.yaml")).unwrap();
    let compose = text("packaging/compose.yaml");
    for job in config["scrape_configs"].as_array().unwrap() {
        let target = job["static_configs"][0]["targets"][0].as_str().unwrap();
        let port = target.rsplit_once(':').unwrap().1;
        assert!(compose.contains(&format!("\"127.0.0.1:{port}:{port}\"")), "{target}");
    }
}
