//! `[adapter]`: where it tells how it is, and how it reads.

use super::api::{hosts, is_host, split};
use super::layer::Settings;
use super::problem::Problem;
use super::table::Table;
use super::{Role, road, roads};
use crate::adapter::route::Topics;
use crate::adapter::{Config, Reading};
use crate::runtime::http;

/// Maps `[adapter]` and its two roads; none where a road is not there.
pub(super) fn adapter(settings: &Settings) -> Option<Config> {
    let table = settings.table("adapter");
    let kafka = roads::kafka(road(settings, "kafka")?);
    Some(Config {
        topics: Topics::beside(&kafka.topic)?,
        database: roads::postgres(road(settings, "postgres")?),
        kafka,
        http: listener(table),
        reading: reading(table),
    })
}

pub(super) fn listener(table: &Table) -> http::Config {
    http::Config {
        listen: table.text("listen").expect("keys.rs gives it a default").to_owned(),
        hosts: hosts(table),
        // Nobody has anything to send here.
        body_bytes_max: 0,
        connections_max: 64,
        ..http::Config::default()
    }
}

pub(super) fn reading(table: &Table) -> Reading {
    Reading {
        group: table.text("group").expect("keys.rs gives it a default").to_owned(),
        session_timeout: table.duration("session_timeout"),
        batch_rows_max: table.count("batch_rows_max") as usize,
        batch_wait: table.duration("batch_wait"),
        fetch_bytes_max: table.size("fetch_bytes_max"),
        ..Reading::default()
    }
}

/// Checks `[adapter]`, and for its role also that both of its roads are there.
pub(super) fn check(settings: &Settings, role: Role) -> Vec<Problem> {
    let table = settings.table("adapter");
    let mut problems = Vec::new();
    let mut add = |table: &Table, key: &str, text: &str| {
        let text = format!("[{}] {key}: {text}", table.section.name);
        problems.push(Problem::new(&table.origin(key), text));
    };
    if split(table.text("listen").unwrap_or_default()).is_none() {
        add(table, "listen", "write host:port, such as \"127.0.0.1:8070\"");
    }
    if !table.texts("hosts").iter().all(|host| is_host(host)) {
        add(table, "hosts", "write names or name:port; nothing is a wildcard");
    }
    let group = table.text("group").unwrap_or_default();
    if group.is_empty() || group.chars().any(char::is_control) {
        add(table, "group", "write the name of a consumer group");
    }
    if role == Role::Adapter {
        let kafka = settings.table("kafka");
        if kafka.is_enabled() && Topics::beside(kafka.text("topic").unwrap_or_default()).is_none() {
            add(
                kafka,
                "topic",
                "the adapter reads the topics beside it: write \
                 {env}.{tenant}.{context}.evt.metadata-stamp-created.v1",
            );
        }
    }
    problems
}
