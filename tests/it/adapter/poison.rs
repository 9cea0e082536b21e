//! Records that cannot be taken: exactly these become dead letters, with all they had, and can be
//! looked at, tried again and exported.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Stage, started, uuid};
use crate::support::block_on;
use crate::support::kafka::Record;
use crate::support::record::{sealed, stamp, stream};
use crate::support::schema;
use crate::support::wait::wait_until;

/// A case of the decoder's.
#[derive(Deserialize)]
struct Refused {
    name: String,
    slug: String,
    value: String,
    #[serde(rename = "refused")]
    words: String,
}

#[test]
fn of_all_that_is_refused_each_is_a_dead_letter_with_its_reason_and_the_rest_goes_on() {
    let stage = Stage::new();
    let cases: Vec<Refused> =
        serde_json::from_str(include_str!("../../cases/adapter/refusals.json")).unwrap();
    for case in &cases {
        stage.topic(&stage.long(&case.slug), 1);
    }
    let topic = stage.long("workflow-started");
    for case in &cases {
        let (name, value) = (case.name.as_bytes(), case.value.as_bytes());
        stage.send_bytes(&stage.long(&case.slug), Some(name), Some(value), &[("trace", b"7")]);
        let id = uuid();
        stage.send(&topic, &id, &started(&id));
    }
    stage.flush();
    let adapter = stage.start("adapter");
    stage.wait_count("workflow_executions", cases.len() as i64);
    stage.wait_count("adapter_dead", cases.len() as i64);
    let exported = stage.home.must(&["dlq", "export", "--adapter"]);
    let letters: Vec<Value> =
        exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for case in &cases {
        let letter = letters.iter().find(|letter| letter["key"] == case.name.as_str());
        let letter = letter.unwrap_or_else(|| panic!("no letter for {}", case.name));
        let why = letter["error_message"].as_str().unwrap();
        assert!(why.contains(&case.words), "{}: {why}", case.name);
        assert_eq!(letter["headers"]["trace"], "7");
    }
    assert!(adapter.metrics().contains("operation_errors_total{error_type=\"not_json\"}"));
    assert!(adapter.process.terminate().success());
}

#[test]
fn a_dead_letter_is_on_its_topic_with_all_that_was_known_its_key_and_its_headers() {
    let stage = Stage::new();
    let topic = stage.long("workflow-started");
    stage.topic(&topic, 1);
    stage.send_bytes(&topic, Some(b"k"), Some(b"garbage"), &[("trace", b"7")]);
    stage.send_bytes(&topic, None, None, &[]);
    stage.send_bytes(&topic, None, Some(b"\xff"), &[]);
    stage.send_bytes(&topic, None, Some(b"{ \"n\": 1.50 }"), &[]);
    stage.send_bytes(&topic, None, Some(b""), &[]);
    stage.flush();
    let adapter = stage.start("adapter");
    let dead = stage.wait_records(&format!("{topic}.dlq"), 5);
    let documents: Vec<Value> = dead.iter().map(Record::json).collect();
    let first = &documents[0];
    assert_eq!(first["original_message"], "garbage");
    assert_eq!(first["original_topic"], topic.as_str());
    assert_eq!((&first["original_partition"], &first["original_offset"]), (&json!(0), &json!(0)));
    assert_eq!(first["error_type"], "not_json");
    assert_eq!(first["retry_count"], 0);
    assert_eq!(first["error_context"]["slug"], "workflow-started");
    for key in ["original_timestamp", "failed_at", "error_message"] {
        assert!(first[key].is_string(), "{key}: {first}");
    }
    assert_eq!(dead[0].key, b"k");
    assert_eq!(dead[0].header("trace"), "7");
    let told = |at: usize| documents[at]["original_message_encoding"].as_str().unwrap().to_owned();
    let encodings: Vec<_> = (0..documents.len()).map(told).collect();
    assert_eq!(encodings, ["text", "none", "base64", "json", "text"]);
    let reasons: Vec<_> = documents.iter().map(|letter| &letter["error_type"]).collect();
    assert_eq!(reasons, ["not_json", "tombstone", "not_utf8", "field", "empty"]);
    // No value and an empty one are not the same, and neither becomes the other on its way.
    assert_eq!(
        (&documents[1]["original_message"], &documents[4]["original_message"]),
        (&json!(null), &json!(""))
    );
    let kept = "SELECT count(*) FROM adapter_dead WHERE error_type = 'empty' AND length(value) = 0 \
                OR error_type = 'tombstone' AND value IS NULL";
    assert_eq!(stage.value::<i64>(kept), 2);
    let text = String::from_utf8(dead[3].value.clone()).unwrap();
    assert!(text.contains("{ \"n\": 1.50 }"), "the value as it was: {text}");
    wait_until("all are marked", || stage.count("adapter_dead WHERE published_at IS NULL") == 0);
    // Topics of dead letters are read by people, and by no adapter.
    assert_eq!(stage.count("adapter_offsets WHERE topic LIKE '%.dlq'"), 0);
    assert!(adapter.process.terminate().success());
}

#[test]
fn one_bad_record_among_five_thousand_is_the_only_one_that_falls_and_a_retry_mends_it() {
    let stage = Stage::new();
    stage.database.batch(
        "ALTER TABLE workflow_executions ADD CONSTRAINT poison CHECK (workflow_type <> 'poison')",
    );
    let topic = stage.long("workflow-started");
    stage.topic(&topic, 1);
    let bad = uuid();
    for number in 0..5_000 {
        let id = if number == 3_210 { bad.clone() } else { uuid() };
        let mut event = started(&id);
        if id == bad {
            event["workflow_type"] = json!("poison");
        }
        stage.send(&topic, &id, &event);
    }
    stage.flush();
    let adapter = stage.start("adapter");
    stage.wait_count("workflow_executions", 4_999);
    stage.wait_count("adapter_dead", 1);
    let list = stage.home.must(&["dlq", "ls", "--adapter"]);
    assert!(list.contains("poison"), "{list}");
    assert!(stage.home.must(&["dlq", "show", "--adapter", "1"]).contains(&bad));
    for args in [&["dlq", "show", "--adapter", "1"][..], &["dlq", "ls", "--adapter"]] {
        let printed = stage.home.run(&[args, &["--format", "json"]].concat());
        assert_eq!(schema::hold(&printed.stdout), ["stampd.dlq.adapter/v1"], "{args:?}");
    }
    let again = stage.home.run(&["dlq", "retry", "--adapter", "--all"]);
    assert_eq!(again.status.code(), Some(4), "{again:?}");
    assert_eq!(stage.count("adapter_dead WHERE retry_count = 1"), 1);
    assert_eq!(stage.count("adapter_dead"), 1, "a letter that is refused again is the same letter");
    stage.database.batch("ALTER TABLE workflow_executions DROP CONSTRAINT poison");
    stage.home.must(&["dlq", "retry", "--adapter", "--all"]);
    assert_eq!(stage.count("workflow_executions"), 5_000);
    stage.home.must(&["dlq", "retry", "--adapter", "1"]);
    assert_eq!(stage.count("workflow_executions"), 5_000);
    assert!(stage.home.must(&["dlq", "export", "--adapter"]).is_empty());
    assert_eq!(stage.home.must(&["dlq", "export", "--adapter", "--taken"]).lines().count(), 1);
    assert!(adapter.process.terminate().success());
}

#[test]
fn another_stamp_under_a_known_identity_is_refused_and_raises_an_alarm() {
    let stage = Stage::new();
    let topic = stage.long("stamp-created");
    stage.topic(&topic, 1);
    let stream = stream();
    let mut other = stamp(stream, 1);
    other.size = Some(999);
    for stamp in [stamp(stream, 0), stamp(stream, 1), other, stamp(stream, 2)] {
        let body: Value = serde_json::from_str(&sealed(stamp).body).unwrap();
        stage.send(&topic, "k", &json!({ "payload": { "stamp": body } }));
    }
    stage.flush();
    let adapter = stage.start("adapter");
    stage.wait_read(&topic, 4);
    assert_eq!(stage.value::<i64>("SELECT size FROM streams"), 3);
    assert_eq!(stage.count("adapter_dead WHERE error_type = 'equivocation'"), 1);
    let alarm = "operation_errors_total{error_type=\"equivocation\"} 1\n";
    assert!(adapter.metrics().contains(alarm), "{}", adapter.metrics());
    assert!(adapter.process.log().contains("EQUIVOCATION"), "{}", adapter.process.log());
    assert!(adapter.process.terminate().success());
}

#[test]
fn a_letter_can_be_tried_with_another_value() {
    let stage = Stage::new();
    let topic = stage.long("workflow-started");
    stage.topic(&topic, 1);
    stage.send_bytes(&topic, None, Some(b"garbage"), &[]);
    stage.flush();
    let adapter = stage.start("adapter");
    stage.wait_count("adapter_dead", 1);
    let file = stage.home.path().join("mended.json");
    std::fs::write(&file, started(&uuid()).to_string()).unwrap();
    let value = file.display().to_string();
    stage.home.must(&["dlq", "retry", "--adapter", "1", "--value", &value]);
    assert_eq!(stage.count("workflow_executions"), 1);
    assert_eq!(stage.home.run(&["dlq", "show", "--adapter", "2"]).status.code(), Some(7));
    assert!(adapter.process.terminate().success());
}

#[test]
fn a_record_of_ten_megabytes_falls_alone_and_its_letter_says_where_the_whole_is() {
    let stage = Stage::new();
    let topic = stage.long("workflow-started");
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1));
    let new = new.set("max.message.bytes", "20000000");
    let admin: AdminClient<DefaultClientContext> = stage.client().create().unwrap();
    let options = AdminOptions::new();
    let made = block_on(|| async { admin.create_topics([&new], &options).await });
    made.unwrap().into_iter().for_each(|made| drop(made.unwrap()));
    // Random, so that compression does not make it small.
    let value: String = (0..300_000).map(|_| uuid()).collect();
    stage.send_bytes(&topic, None, Some(value.as_bytes()), &[]);
    let id = uuid();
    stage.send(&topic, &id, &started(&id));
    stage.flush();
    let adapter = stage.start("adapter");
    stage.wait_count("workflow_executions", 1);
    let dead = stage.wait_records(&format!("{topic}.dlq"), 1);
    let document = dead[0].json();
    assert_eq!(document["error_type"], "too_large");
    assert_eq!(document["original_message_encoding"], "too_large");
    let sql = "SELECT length(value)::bigint FROM adapter_dead";
    assert_eq!(stage.value::<i64>(sql), value.len() as i64);
    assert!(adapter.process.terminate().success());
}
