//! From a record to its row: topics of both spellings, topics that come later, and what lies where.

use super::{Stage, started, uuid};

#[test]
fn events_of_both_spellings_become_rows_and_a_later_topic_is_found() {
    let stage = Stage::new();
    let (long, short) =
        (stage.long("workflow-started"), stage.short("orchestrator", "workflow-started"));
    stage.topic(&long, 2);
    for _ in 0..50 {
        let id = uuid();
        stage.send(&long, &id, &started(&id));
    }
    stage.flush();
    let adapter = stage.start("adapter");
    stage.wait_count("workflow_executions", 50);
    stage.topic(&short, 1);
    let id = uuid();
    stage.send(&short, &id, &started(&id));
    stage.flush();
    stage.wait_count("workflow_executions", 51);
    adapter.wait_ready();
    assert!(adapter.process.terminate().success());
    assert_eq!(stage.count("adapter_offsets"), 3);
    assert_eq!(stage.count("adapter_dead"), 0);
}

#[test]
fn a_second_life_goes_on_where_the_database_says_and_reads_nothing_twice() {
    let stage = Stage::new();
    let topic = stage.long("workflow-started");
    stage.topic(&topic, 1);
    let ids = [uuid(), uuid()];
    stage.send(&topic, &ids[0], &started(&ids[0]));
    stage.flush();
    let adapter = stage.start("adapter");
    stage.wait_read(&topic, 1);
    // Between the database's commit and Kafka's nothing is promised: whatever Kafka says, the
    // database decides.
    adapter.process.kill();
    stage.send(&topic, &ids[1], &started(&ids[1]));
    stage.flush();
    let adapter = stage.start("adapter");
    stage.wait_count("workflow_executions", 2);
    assert!(adapter.process.log().contains("state=\"resumed\""), "{}", adapter.process.log());
    assert!(adapter.process.terminate().success());
}
