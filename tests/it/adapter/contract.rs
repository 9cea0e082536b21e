//! The adapter's topics and schemas say what the program does. Of its contract `contracts check` says
//! so: see `contracts.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use stampd::adapter::decode::{Record, Refusal, VALUE_BYTES_MAX, decode};
use stampd::adapter::route::{Slug, Topics};
use stampd::model::operation::Event;
use stampd::runtime::time::Timestamp;

fn contracts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts")
}

fn yaml(file: &str) -> Value {
    let text = std::fs::read_to_string(contracts().join(file)).expect("the contract is there");
    serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The contract of the adapter.
pub fn effect() -> Value {
    yaml("effects/database_adapter_effect.yaml")
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|item| item.as_str().expect("a text")).collect()
}

fn schema(slug: Slug) -> Value {
    let file = contracts().join(format!("schemas/{}.v1.json", slug.as_str()));
    let text = std::fs::read_to_string(file).expect("every slug has its schema");
    serde_json::from_str(&text).expect("a schema is JSON")
}

/// The data of a record that is taken.
fn golden(slug: Slug) -> Map<String, Value> {
    let file = format!("tests/cases/adapter/{}.json", slug.as_str());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(file).expect("every slug has its case");
    let case: Value = serde_json::from_str(&text).expect("a case is JSON");
    case["shapes"]["bare"].as_object().expect("a bare record is an object").clone()
}

fn read(slug: Slug, data: &Map<String, Value>) -> Result<Event, Refusal> {
    let value = Value::Object(data.clone()).to_string();
    let record = Record { value: Some(value.as_bytes()), ..Record::default() };
    decode(slug, &record, Timestamp::from_nanos(0))
}

/// Whether a record with this field is taken. Of a refusal it demands that it is this field's.
fn takes(slug: Slug, field: &str, value: Value) -> bool {
    let mut data = golden(slug);
    data.insert(field.to_owned(), value);
    match read(slug, &data) {
        Ok(_) => true,
        Err(refusal) => {
            assert_eq!(refusal.field(), Some(field), "{}: {refusal}", slug.as_str());
            false
        }
    }
}

#[test]
fn the_topics_of_the_contract_are_those_that_are_read() {
    let (effect, asyncapi) = (effect(), yaml("asyncapi.yaml"));
    let topics = Topics::new("dev", "omninode_bridge", "onex");
    let consumed = texts(&effect["kafka"]["consumes"]);
    for topic in &consumed {
        assert!(topics.slug(topic).is_some(), "{topic} is not read");
    }
    let names: BTreeSet<&str> = Slug::ALL.iter().flat_map(|slug| slug.names()).copied().collect();
    let operations = asyncapi["operations"].as_object().expect("operations");
    let received: BTreeSet<&str> =
        operations.keys().filter_map(|name| name.strip_prefix("receive-")).collect();
    assert_eq!(received, names);
    for name in &names {
        let address = asyncapi["channels"][name]["address"].as_str().expect("an address");
        let topic = address
            .replace("{environment}", "dev")
            .replace("{tenant}", "omninode_bridge")
            .replace("{context}", "onex");
        let slug = topics.slug(&topic).unwrap_or_else(|| panic!("{topic} is not read"));
        assert!(slug.names().contains(name));
        assert!(consumed.contains(&topic.as_str()), "{topic} is not in the contract");
        let message = &asyncapi["channels"][name]["messages"][slug.as_str()]["$ref"];
        assert_eq!(message, &format!("#/components/messages/{}", slug.as_str()));
    }
    for topic in texts(&effect["kafka"]["produces"]) {
        assert!(topics.slug(topic).is_none(), "{topic} would be read again");
    }
}

#[test]
fn the_limits_of_the_schemas_are_those_of_the_program() {
    for slug in Slug::ALL {
        let schema = schema(slug);
        for (field, limits) in schema["properties"].as_object().expect("properties") {
            check_length(slug, field, limits);
            check_bound(slug, field, &limits["minimum"], -1);
            check_bound(slug, field, &limits["maximum"], 1);
            for word in limits["enum"].as_array().into_iter().flatten() {
                assert!(takes(slug, field, word.clone()), "{field} {word}");
            }
            if limits["enum"].is_array() || limits["format"] == "uuid" {
                assert!(!takes(slug, field, "something else".into()), "{field}");
            }
            assert!(!takes(slug, field, json!([])), "{field} is no list");
        }
    }
}

fn check_length(slug: Slug, field: &str, limits: &Value) {
    let Some(most) = limits["maxLength"].as_u64().filter(|_| limits["pattern"].is_null()) else {
        return;
    };
    assert!(takes(slug, field, "x".repeat(most as usize).into()), "{field}");
    assert!(!takes(slug, field, "x".repeat(most as usize + 1).into()), "{field}");
    assert_eq!(takes(slug, field, "".into()), limits["minLength"].is_null(), "{field}");
}

fn check_bound(slug: Slug, field: &str, limit: &Value, beyond: i64) {
    if let Some(limit) = limit.as_i64() {
        assert!(takes(slug, field, limit.into()), "{field} {limit}");
        assert!(!takes(slug, field, (limit + beyond).into()), "{field} {limit}");
    }
}

#[test]
fn the_required_fields_of_the_schemas_are_those_of_the_program() {
    for slug in Slug::ALL {
        let (schema, golden) = (schema(slug), golden(slug));
        let required: BTreeSet<&str> = texts(&schema["required"]).into_iter().collect();
        let mut least = golden.clone();
        least.retain(|field, _| required.contains(field.as_str()));
        read(slug, &least).unwrap_or_else(|error| panic!("{}: {error}", slug.as_str()));
        for field in &required {
            let mut less = golden.clone();
            less.remove(*field);
            let refusal = read(slug, &less).expect_err(field);
            assert_eq!(refusal.field(), Some(*field), "{}", slug.as_str());
        }
        let known = schema["properties"].as_object().expect("properties");
        assert!(golden.keys().all(|field| known.contains_key(field)), "{}", slug.as_str());
    }
}

#[test]
fn every_reason_of_a_dead_letter_is_met() {
    let told = BTreeSet::from(Refusal::CODES);
    let cases: Value =
        serde_json::from_str(include_str!("../../cases/adapter/refusals.json")).expect("cases");
    let mut seen = BTreeSet::new();
    let mut see = |slug, record: &Record<'_>| {
        if let Err(refusal) = decode(slug, record, Timestamp::from_nanos(0)) {
            seen.insert(refusal.code());
        }
    };
    for case in cases.as_array().expect("a list") {
        let slug = Slug::ALL.into_iter().find(|slug| slug.as_str() == case["slug"]);
        let value = case["value"].as_str().expect("a text").as_bytes();
        see(slug.expect("a slug"), &Record { value: Some(value), ..Record::default() });
    }
    let too_large = vec![b' '; VALUE_BYTES_MAX + 1];
    for value in [None, Some(&b""[..]), Some(b"\xff"), Some(&too_large)] {
        see(Slug::NodeHeartbeat, &Record { value, ..Record::default() });
    }
    // A leaf that contradicts its stamp takes a whole stamp to show.
    assert_eq!(told.difference(&seen).copied().collect::<Vec<_>>(), ["leaf"]);
    assert!(seen.is_subset(&told), "{seen:?}");
}
