//! What befalls a topic has a name, an action and no silence; and so has what befalls a server.

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

use super::contract::effect;
use super::{Adapter, Stage, started, uuid};
use crate::support::block_on;
use crate::support::wait::wait_until;

fn admin(stage: &Stage) -> AdminClient<DefaultClientContext> {
    stage.client().create().expect("an admin client starts")
}

fn send(stage: &Stage, topic: &str, count: usize) {
    for _ in 0..count {
        let id = uuid();
        stage.send(topic, &id, &started(&id));
    }
    stage.flush();
}

fn wait_begun(adapter: &Adapter, state: &str) {
    let line = format!("stampd_adapter_partitions_begun_total{{state=\"{state}\"}} 1");
    wait_until(&format!("a partition was begun as {state}"), || adapter.metrics().contains(&line));
}

#[test]
fn an_expired_offset_is_named_and_counted_and_reading_goes_on() {
    let stage = Stage::new();
    let topic = stage.long("workflow-started");
    stage.topic(&topic, 1);
    send(&stage, &topic, 2);
    let adapter = stage.start("adapter");
    stage.wait_read(&topic, 2);
    assert!(adapter.process.terminate().success());
    send(&stage, &topic, 5);
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic, 0, Offset::Offset(6)).unwrap();
    let options = AdminOptions::new();
    block_on(|| async { admin(&stage).delete_records(&before, &options).await }).unwrap();
    let adapter = stage.start("adapter");
    wait_begun(&adapter, "offset_expired");
    stage.wait_count("workflow_executions", 3);
    assert!(adapter.metrics().contains("stampd_adapter_records_expired_total 4"));
    assert!(adapter.process.log().contains("deleted before they were read"));
    assert!(adapter.process.terminate().success());
}

#[test]
fn a_topic_that_is_made_anew_is_read_from_its_beginning() {
    let stage = Stage::new();
    let topic = stage.long("workflow-started");
    stage.topic(&topic, 1);
    send(&stage, &topic, 5);
    let adapter = stage.start("adapter");
    stage.wait_read(&topic, 5);
    stage.forget(&topic);
    stage.topic(&topic, 1);
    send(&stage, &topic, 2);
    wait_begun(&adapter, "topic_recreated");
    stage.wait_count("workflow_executions", 7);
    assert!(adapter.process.terminate().success());
}

#[test]
fn a_partition_that_is_added_is_read_from_its_beginning() {
    let stage = Stage::new();
    let topic = stage.long("workflow-started");
    stage.topic(&topic, 1);
    send(&stage, &topic, 5);
    let adapter = stage.start("adapter");
    stage.wait_read(&topic, 5);
    let more = NewPartitions::new(&topic, 2);
    let options = AdminOptions::new();
    let made = block_on(|| async { admin(&stage).create_partitions([&more], &options).await });
    made.unwrap().into_iter().for_each(|made| drop(made.unwrap()));
    wait_begun(&adapter, "partition_added");
    send(&stage, &topic, 20);
    stage.wait_count("workflow_executions", 25);
    assert!(adapter.process.terminate().success());
}

#[test]
fn while_the_database_is_shut_the_breaker_opens_and_the_partitions_stay_ours() {
    let stage = Stage::new();
    let topic = stage.long("workflow-started");
    stage.topic(&topic, 1);
    send(&stage, &topic, 1);
    let adapter = stage.start("adapter");
    stage.wait_read(&topic, 1);
    adapter.wait_ready();
    stage.database.block();
    send(&stage, &topic, 10);
    wait_until("the breaker is open", || adapter.metrics().contains("circuit_breaker_state 2"));
    let (status, health) = adapter.get("/health");
    assert_eq!((status, &health["status"]), (200, &"degraded".into()));
    assert_eq!(health["components"]["circuit_breaker"]["details"]["state"], "open");
    assert_eq!(health["components"]["postgres"]["status"], "unhealthy");
    assert_eq!(health["partitions"].as_array().unwrap().len(), 1, "{health}");
    assert_eq!(adapter.get("/health/ready").0, 503);
    assert_eq!(adapter.get("/health/live").0, 200);
    stage.database.unblock();
    stage.wait_count("workflow_executions", 11);
    send(&stage, &topic, 1);
    wait_until("it is closed", || adapter.metrics().contains("circuit_breaker_state 0"));
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM adapter_offsets"), 1);
    let regained = adapter.process.log().matches("partitions went to others").count();
    assert_eq!(regained, 0, "it stayed a member of its group");
    assert!(adapter.process.terminate().success());
}

#[test]
fn a_step_without_a_workflow_waits_is_counted_and_told_of_when_it_is_overdue() {
    let stage = Stage::new();
    let topic = stage.long("step-completed");
    stage.topic(&topic, 1);
    let step = json!({
        "workflow_id": uuid(), "step_name": "a", "step_order": 0, "status": "COMPLETED",
    });
    stage.send(&topic, "a", &step);
    stage.flush();
    let adapter = stage.start("adapter");
    stage.wait_count("pending_steps", 1);
    assert!(adapter.process.terminate().success());
    stage.database.batch("UPDATE pending_steps SET received_at = now() - interval '50 hours'");
    let adapter = stage.start("adapter");
    let overdue = || {
        let (_, health) = adapter.get("/health");
        let reason = &health["components"]["pending_steps"]["details"]["reason"];
        reason.as_str().is_some_and(|why| why.starts_with("overdue: 1 steps wait"))
    };
    wait_until("the step is overdue", overdue);
    let metrics = adapter.metrics();
    assert!(metrics.contains("stampd_adapter_pending_steps 1\n"), "{metrics}");
    assert!(metrics.contains("stampd_adapter_pending_steps_longest_seconds 18"), "{metrics}");
    assert_eq!(adapter.get("/health").1["status"], "degraded");
    assert_eq!(stage.count("pending_steps"), 1, "it is not given up");
    assert!(adapter.process.terminate().success());
}

#[test]
fn it_starts_without_servers_says_why_in_one_line_and_waits_for_them() {
    let mut stage = Stage::new();
    stage.home.configure("");
    let port = crate::support::free_port();
    stage.home.set("KAFKA_BOOTSTRAP_SERVERS", &format!("127.0.0.1:{port}"));
    stage.home.set("POSTGRES_HOST", "127.0.0.1");
    stage.home.set("POSTGRES_PORT", "9");
    stage.home.set("DATABASE_ADAPTER_PORT", "0");
    let adapter = stage.start("adapter");
    wait_until("it says what is wrong", || {
        let (_, health) = adapter.get("/health");
        let reason = &health["components"]["kafka"]["details"]["reason"];
        reason.as_str().is_some_and(|text| text.contains("nothing listens at"))
    });
    assert_eq!(adapter.get("/health/ready").0, 503);
    assert!(adapter.process.terminate().success(), "a stop needs no server either");
}

#[test]
fn the_contract_s_metrics_are_there_by_name() {
    let stage = Stage::new();
    let topic = stage.long("workflow-started");
    stage.topic(&topic, 1);
    send(&stage, &topic, 3);
    let adapter = stage.start("adapter");
    stage.wait_read(&topic, 3);
    let metrics = adapter.metrics();
    for line in [
        "kafka_messages_consumed_total{topic=",
        "database_operations_total{operation_type=\"take\",status=\"success\"}",
        "database_operations_total{operation_type=\"take\",status=\"error\"} 0",
        "database_operation_duration_seconds_count{operation_type=\"take\"}",
        "connection_pool_size 1",
        "connection_pool_usage ",
        "circuit_breaker_state 0",
        "kafka_events_published_total 0",
        "stampd_adapter_events_total 3",
        "stampd_adapter_dead_letters_total 0",
        "stampd_adapter_partitions 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let names = effect()["monitoring"]["metrics"].clone();
    for name in names.as_array().unwrap().iter().map(|name| name.as_str().unwrap()) {
        let is_told = metrics.contains(&format!("# TYPE {name} "));
        assert!(is_told, "{name} is not in\n{metrics}");
    }
    assert!(adapter.process.terminate().success());
}

#[test]
fn without_both_roads_it_says_what_to_write() {
    let stage = Stage::new();
    stage.home.configure("");
    let output = stage.home.run(&["adapter"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("KAFKA_BOOTSTRAP_SERVERS"));
}
