//! Whether a database and a topic hold exactly what a log says: nothing missing, nothing altered.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::block_on;
use super::kafka::Record;
use super::postgres::Address;

/// A stamp's stream and its position in it.
type Identity = (String, u64);

/// Asserts that of the log's streams both sides hold exactly its stamps: each once, byte for byte. The
/// log is of lines, a canonical body each.
pub fn assert_hold(database: &Address, on_topic: Vec<Record>, log: &str) {
    let bodies: BTreeMap<Identity, Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("a body is JSON"))
        .map(|body: Value| (identity(&body), body))
        .collect();
    let streams: BTreeSet<&String> = bodies.keys().map(|(stream, _)| stream).collect();
    let mut rows = rows(database);
    rows.retain(|(stream, _), _| streams.contains(stream));
    assert!(rows == bodies, "stamp_events holds the log:\n{rows:#?}\n{bodies:#?}");
    let lines: BTreeSet<&str> = log.lines().collect();
    let mut found = BTreeMap::new();
    for record in on_topic {
        let body = record.json()["payload"]["stamp"].clone();
        if !streams.contains(&identity(&body).0) {
            continue;
        }
        found.insert(record.header("ce_id").to_owned(), body);
        let value = String::from_utf8(record.value).expect("UTF-8");
        assert!(lines.iter().any(|line| value.contains(line)), "a body verbatim: {value}");
    }
    let found: BTreeMap<Identity, Value> =
        found.into_values().map(|body| (identity(&body), body)).collect();
    assert_eq!(found, bodies, "the topic holds the log");
}

fn rows(database: &Address) -> BTreeMap<Identity, Value> {
    let rows = block_on(|| async {
        let client = database.connect().await;
        client.query("SELECT body::text FROM stamp_events", &[]).await.expect("it is there")
    });
    rows.iter()
        .map(|row| serde_json::from_str(row.get(0)).expect("a body is JSON"))
        .map(|body: Value| (identity(&body), body))
        .collect()
}

fn identity(body: &Value) -> Identity {
    let stream = body["stream"].as_str().expect("a stream is text").to_owned();
    (stream, body["seq"].as_u64().expect("a seq is an integer"))
}
