//! Questions over Kafka: answered beside their topic, with their correlation id, from a list of words.

use serde_json::{Value, json};

use super::{Stage, started, uuid};

fn question(correlation_id: &str, payload: &Value) -> Value {
    json!({
        "event_id": uuid(), "event_type": "QUERY_REQUESTED", "correlation_id": correlation_id,
        "payload": payload,
    })
}

#[test]
fn a_question_is_answered_with_its_correlation_id_beside_its_topic() {
    let stage = Stage::new();
    let (events, asked) =
        (stage.long("workflow-started"), stage.short("database", "query-requested"));
    stage.topic(&events, 1);
    stage.topic(&asked, 1);
    let ids = [uuid(), uuid(), uuid()];
    for id in &ids {
        stage.send(&events, id, &started(id));
    }
    stage.flush();
    let adapter = stage.start("adapter");
    stage.wait_count("workflow_executions", 3);
    let correlation_id = uuid();
    let payload = json!({
        "entity_type": "workflow_execution", "filters": { "correlation_id": ids[1] }, "limit": 5,
    });
    let question = question(&correlation_id, &payload);
    stage.send(&asked, &correlation_id, &question);
    stage.flush();
    let answers = stage.wait_records(&stage.short("database", "query-completed"), 1);
    let answer = answers[0].json();
    assert_eq!(answer["correlation_id"], correlation_id.as_str());
    assert_eq!(answer["causation_id"], question["event_id"]);
    assert_eq!(answer["event_type"], "QUERY_COMPLETED");
    assert_eq!(answer["payload"]["result_count"], 1, "{answer}");
    assert_eq!(answer["payload"]["results"][0]["correlation_id"], ids[1].as_str());
    assert_eq!(answers[0].key, correlation_id.as_bytes());
    stage.wait_read(&asked, 1);
    assert!(adapter.process.terminate().success());
}

#[test]
fn words_that_are_not_on_the_list_are_refused_and_nothing_of_them_runs() {
    let stage = Stage::new();
    let asked = stage.long("query-requested");
    stage.topic(&asked, 1);
    let injection = "workflow_executions; DROP TABLE workflow_executions; --";
    let payloads = [
        json!({ "entity_type": injection }),
        json!({ "entity_type": "pg_shadow" }),
        json!({ "entity_type": "workflow_execution", "filters": { injection: 1 } }),
        json!({ "entity_type": "workflow_execution", "filters": { "namespace__sql": "1=1" } }),
        json!({ "entity_type": "workflow_execution", "sort_by": injection }),
        json!({ "entity_type": "workflow_execution", "sort_by": "namespace", "sort_order": "x" }),
    ];
    let ids: Vec<String> = payloads.iter().map(|_| uuid()).collect();
    for (id, payload) in ids.iter().zip(&payloads) {
        stage.send(&asked, id, &question(id, payload));
    }
    stage.flush();
    let adapter = stage.start("adapter");
    let answers = stage.wait_records(&stage.long("query-failed"), payloads.len());
    for (answer, id) in answers.iter().zip(&ids) {
        let answer = answer.json();
        assert_eq!(answer["correlation_id"], id.as_str());
        assert_eq!(answer["payload"]["error_type"], "refused", "{answer}");
    }
    assert_eq!(stage.count("workflow_executions"), 0, "the table is there");
    assert!(adapter.process.terminate().success());
}
