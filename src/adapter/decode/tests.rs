//! Cases in data files below tests/cases/adapter, limits, identities, and bytes of every kind.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::model::batch::Entry;
use crate::model::body;
use crate::model::envelope;
use crate::model::operation::Position;
use crate::model::stream::StreamId;
use crate::runtime::chain::chain;

const SENT: Timestamp = Timestamp::from_nanos(5);

/// Every shape of one operation's record, and the operation as it prints.
#[derive(Deserialize)]
struct Golden {
    slug: String,
    shapes: BTreeMap<String, Value>,
    operation: String,
}

/// A record that is refused, and the words after "decode the record: ".
#[derive(Deserialize)]
struct Refused {
    name: String,
    slug: String,
    value: String,
    #[serde(rename = "refused")]
    words: String,
}

fn slug(name: &str) -> Slug {
    Slug::ALL.into_iter().find(|slug| slug.as_str() == name).expect("a slug")
}

macro_rules! case {
    ($file:literal) => {
        include_str!(concat!("../../../tests/cases/adapter/", $file, ".json"))
    };
}

fn golden(slug: Slug) -> Golden {
    let text = match slug {
        Slug::WorkflowStarted => case!("workflow-started"),
        Slug::WorkflowCompleted => case!("workflow-completed"),
        Slug::WorkflowFailed => case!("workflow-failed"),
        Slug::StepCompleted => case!("step-completed"),
        Slug::StampCreated => case!("stamp-created"),
        Slug::StateTransition => case!("state-transition"),
        Slug::StateAggregationCompleted => case!("state-aggregation-completed"),
        Slug::NodeHeartbeat => case!("node-heartbeat"),
        Slug::QueryRequested => case!("query-requested"),
    };
    serde_json::from_str(text).expect("a golden case")
}

fn read(slug: Slug, value: &[u8]) -> Result<Event, Refusal> {
    decode(slug, &Record { value: Some(value), ..Record::default() }, SENT)
}

#[test]
fn every_shape_of_every_slug_decodes_to_its_operation() {
    for golden in Slug::ALL.map(golden) {
        for (shape, value) in golden.shapes {
            let event = read(slug(&golden.slug), value.to_string().as_bytes())
                .unwrap_or_else(|error| panic!("{} {shape}: {error}", golden.slug));
            let operation = format!("{:?}", event.operation);
            assert_eq!(operation, golden.operation, "{} {shape}", golden.slug);
        }
    }
}

#[test]
fn every_refusal_says_which_field_and_what_is_wrong() {
    let cases: Vec<Refused> = serde_json::from_str(case!("refusals")).expect("refusals");
    for case in cases {
        let error = read(slug(&case.slug), case.value.as_bytes()).expect_err(&case.name);
        let words = error.to_string();
        assert!(words.ends_with(&case.words), "{}: {words}", case.name);
        if let Some(field) = error.field() {
            assert!(case.words.starts_with(field), "{}", case.name);
        }
    }
}

#[test]
fn a_text_may_be_as_long_as_its_limit_and_no_longer() {
    for (name, field, chars_max) in [
        ("workflow-started", "workflow_type", 100),
        ("workflow-started", "current_state", 50),
        ("workflow-started", "namespace", 255),
        ("workflow-completed", "current_state", 50),
        ("workflow-failed", "error_message", 2_000),
        ("step-completed", "step_name", 100),
        ("step-completed", "error_message", 2_000),
        ("state-transition", "entity_type", 100),
        ("state-transition", "from_state", 50),
        ("state-transition", "to_state", 50),
        ("state-transition", "transition_event", 100),
        ("state-aggregation-completed", "namespace", 255),
        ("state-aggregation-completed", "current_fsm_state", 50),
        ("node-heartbeat", "node_id", 255),
        ("node-heartbeat", "health_status", 50),
        ("node-heartbeat", "node_type", 100),
        ("node-heartbeat", "node_version", 50),
        ("stamp-created", "content_type", 255),
    ] {
        let slug = slug(name);
        let mut value = golden(slug).shapes["bare"].clone();
        // Characters count, not bytes.
        value[field] = "ä".repeat(chars_max).into();
        assert!(read(slug, value.to_string().as_bytes()).is_ok(), "{name} {field}");
        value[field] = "ä".repeat(chars_max + 1).into();
        let error = read(slug, value.to_string().as_bytes()).expect_err("one too many");
        let words = format!("decode the record: {field} is longer than {chars_max} characters");
        assert_eq!(error.to_string(), words);
    }
}

#[test]
fn a_value_that_is_none_is_refused_for_what_it_is() {
    let tombstone = decode(Slug::NodeHeartbeat, &Record::default(), SENT);
    assert!(matches!(tombstone, Err(Refusal::Tombstone)));
    assert!(matches!(read(Slug::NodeHeartbeat, b""), Err(Refusal::Empty)));
    assert!(matches!(read(Slug::NodeHeartbeat, b"{\"\xff\"}"), Err(Refusal::NotUtf8)));
    let large = vec![b' '; 10_000_000];
    assert!(matches!(read(Slug::NodeHeartbeat, &large), Err(Refusal::TooLarge(10_000_000))));
}

#[test]
fn an_event_is_known_by_its_id_else_by_cloudevents_else_by_all_it_is() {
    let shapes = golden(Slug::NodeHeartbeat).shapes;
    let key = |shape: &str, record: &Record<'_>| {
        let value = shapes[shape].to_string();
        let record = Record { value: Some(value.as_bytes()), ..*record };
        decode(Slug::NodeHeartbeat, &record, SENT).expect("it decodes").origin.key
    };
    let with_ce = Record { ce_id: Some(b"a/1"), ..Record::default() };
    assert_eq!(key("enveloped", &with_ce), "22222222-2222-4222-8222-222222222222");
    assert_eq!(key("bare", &with_ce), "a/1");
    let bare = key("bare", &Record::default());
    assert_eq!(bare, key("bare", &Record::default()));
    assert_ne!(bare, key("bare", &Record { key: Some(b"k"), ..Record::default() }));
    assert_ne!(bare, key("an unknown key beside", &Record::default()));
}

#[test]
fn an_event_happened_when_its_envelope_says_else_when_it_was_sent() {
    let golden = golden(Slug::NodeHeartbeat).shapes;
    let at = |shape: &str| {
        read(Slug::NodeHeartbeat, golden[shape].to_string().as_bytes())
            .expect("it decodes")
            .origin
            .at
    };
    assert_eq!(at("enveloped").to_string(), "2025-10-08T12:00:02.000000000Z");
    assert_eq!(at("bare"), SENT);
}

#[test]
fn a_header_may_contradict_the_topic_too() {
    let value = golden(Slug::NodeHeartbeat).shapes["bare"].to_string();
    let of = |ce_type: &'static [u8]| Record {
        value: Some(value.as_bytes()),
        ce_type: Some(ce_type),
        ..Record::default()
    };
    assert!(decode(Slug::NodeHeartbeat, &of(b"NODE_HEARTBEAT"), SENT).is_ok());
    assert!(decode(Slug::NodeHeartbeat, &of(b"com.example.beat"), SENT).is_ok());
    let refused = decode(Slug::NodeHeartbeat, &of(b"STEP_COMPLETED"), SENT);
    assert!(matches!(refused, Err(Refusal::Contradiction { .. })));
}

/// A body of every kind that was computed without stampd, as an event of ours.
fn events() -> impl Iterator<Item = (StreamId, u64, Entry, envelope::Event)> {
    let place = envelope::Place { environment: "dev".into(), region: None };
    include_str!("../../../tests/cases/spool/golden.jsonl").lines().map(move |line| {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let sealed = body::read(case["body"].as_str().expect("text")).expect("a body");
        let (stream, seq) = (sealed.stamp.stream, sealed.stamp.seq);
        let entry = Entry::Stamp(Box::new(sealed));
        let event = envelope::event(stream, seq, &entry, &place);
        (stream, seq, entry, event)
    })
}

fn record(event: &envelope::Event) -> Record<'_> {
    let header = |name: &str| {
        let found = event.headers.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.as_bytes())
    };
    Record {
        key: None,
        value: Some(&event.value),
        ce_id: header("ce_id"),
        ce_type: header("ce_type"),
        leaf: header("stampd_leaf"),
    }
}

#[test]
fn our_own_stamps_come_back_as_they_were_sealed() {
    for (stream, seq, entry, event) in events() {
        let decoded = decode(Slug::StampCreated, &record(&event), SENT);
        let decoded = decoded.unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(decoded.operation, Operation::Position(Position { stream, seq, entry }));
    }
}

#[test]
fn a_stamp_that_was_spaced_anew_on_its_way_is_the_same() {
    for (stream, seq, entry, event) in events() {
        let tree: Value = serde_json::from_slice(&event.value).expect("JSON");
        let spaced = serde_json::to_string_pretty(&tree).expect("JSON");
        let record = Record { value: Some(spaced.as_bytes()), ..record(&event) };
        let decoded = decode(Slug::StampCreated, &record, SENT).expect("it decodes");
        assert_eq!(decoded.operation, Operation::Position(Position { stream, seq, entry }));
    }
}

#[test]
fn a_withheld_position_comes_back_without_its_body() {
    let place = envelope::Place { environment: "dev".into(), region: None };
    let (stream, seq, entry, _) = events().next().expect("there is one");
    let since = Timestamp::from_nanos(9);
    let entry = Entry::Withheld { leaf: *entry.leaf(), reason: "purged".into(), since };
    let event = envelope::event(stream, seq, &entry, &place);
    let decoded = decode(Slug::StampCreated, &record(&event), SENT).expect("it decodes");
    assert_eq!(decoded.operation, Operation::Position(Position { stream, seq, entry }));
}

#[test]
fn a_leaf_that_is_not_the_bodys_is_refused() {
    let (.., event) = events().next().expect("there is one");
    let other = "0".repeat(64);
    let record = Record { leaf: Some(other.as_bytes()), ..record(&event) };
    assert!(matches!(decode(Slug::StampCreated, &record, SENT), Err(Refusal::Leaf(_))));
}

fn any_slug() -> impl Strategy<Value = Slug> {
    proptest::sample::select(Slug::ALL.to_vec())
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(
        slug in any_slug(),
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
        ce_id in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
    ) {
        let record = Record { value: value.as_deref(), ce_id: ce_id.as_deref(), ..Record::default() };
        let _ = decode(slug, &record, SENT);
    }

    #[test]
    fn a_good_record_with_a_few_bytes_changed_decodes_or_is_refused(
        slug in any_slug(),
        shape in any::<proptest::sample::Index>(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let shapes = golden(slug).shapes;
        let shape = shapes.values().nth(shape.index(shapes.len())).expect("within");
        let mut value = shape.to_string().into_bytes();
        for (at, byte) in changes {
            let at = at.index(value.len());
            value[at] = byte;
        }
        let _ = read(slug, &value);
    }
}
