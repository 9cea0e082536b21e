//! The list by which the original system was proved: what works when nothing is in the way.

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};

use super::deployment::{Deployment, PREFIX};
use crate::adapter::{started, uuid};
use crate::agent::text;
use crate::support::kafka::Topic;
use crate::support::tree::write;
use crate::support::wait::{DEADLINE, wait_for, wait_until};
use crate::support::web::Web;

const NAMESPACE: &str = "demo.services.docs";

fn content(text: &str, path: &str) -> Value {
    json!({ "content": text, "file_path": path, "namespace": NAMESPACE })
}

fn digest(bytes: impl AsRef<[u8]>) -> String {
    blake3::hash(bytes.as_ref()).to_hex().to_string()
}

/// Rows of a content.
fn rows_of(it: &Deployment, hash: &str) -> i64 {
    it.count(&format!("SELECT count(*) FROM metadata_stamps WHERE file_hash = '{hash}'"))
}

pub fn service_health(it: &mut Deployment) {
    let health = it.get("/health");
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("healthy")), "{health:?}");
    it.wait_adapter();
    it.story.shows("GET /health/ready of the adapter", "200");
    for machine in [&it.desk, &it.train] {
        wait_until("its sinks are online", || machine.are("online"));
        it.story.prints("$ stampd status", &machine.place.home.must(&["status"]));
    }
    let onextree = text(&it.desk.place.status()["onextree"]["listen"]);
    let health = Web(onextree.parse().expect("an address")).get("/health");
    it.story.shows("GET /health of OnexTree", &format!("{} {}", health.status, health.body));
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("healthy")), "{health:?}");
}

pub fn single_file(it: &mut Deployment) {
    let reply = it.post("/stamp", &content("Hello World", "docs/hello.txt"));
    assert_eq!(reply.status, 200, "{reply:?}");
    let hash = text(&reply.json()["file_hash"]);
    assert_eq!(hash, digest("Hello World"));
    assert_eq!(rows_of(it, &hash), 1, "a 200 is durable");
    let held = it.get(&format!("{PREFIX}/stamp/{hash}"));
    assert_eq!(held.json()["data"]["id"], reply.json()["stamp_id"]);
}

pub fn batch(it: &mut Deployment) {
    let item = |number: usize| json!({ "id": number, "content": format!("item {number}") });
    let items: Vec<Value> = (1..=5).map(item).collect();
    let reply = it.post("/batch", &json!({ "items": items, "namespace": NAMESPACE }));
    assert_eq!(reply.status, 200, "{reply:?}");
    let data = &reply.json()["data"];
    assert_eq!(
        (&data["total"], &data["successful"], &data["failed"]),
        (&json!(5), &json!(5), &json!(0))
    );
    for (result, number) in data["results"].as_array().expect("a list").iter().zip(1..) {
        assert_eq!(text(&result["file_hash"]), digest(format!("item {number}")));
    }
    let mixed = json!([item(6), { "id": 7, "file_path": "no/content.md" }]);
    let reply = it.post("/batch", &json!({ "items": mixed, "namespace": NAMESPACE }));
    let partial = reply.json();
    assert_eq!((&partial["status"], &partial["data"]["failed"]), (&json!("partial"), &json!(1)));
}

pub fn idempotency(it: &mut Deployment) {
    let once = content("the same", "docs/same.txt");
    let first = it.post("/stamp", &once).json();
    for _ in 0..2 {
        let again = it.post("/stamp", &once).json();
        assert_eq!(again["stamp_id"], first["stamp_id"]);
        assert_eq!(again["data"]["created_at"], first["data"]["created_at"]);
    }
    assert_eq!(rows_of(it, &digest("the same")), 1);
    it.story.says("one row, one stamp, whoever asks again");
}

pub fn file_types(it: &mut Deployment) {
    let files = [
        ("src/main.py", "print('hello')"),
        ("README.md", "# Hello"),
        ("package.json", "{\"name\": \"hello\"}"),
        ("compose.yaml", "services: {}"),
        ("index.html", "<p>Hello</p>"),
        ("style.css", "p { color: black }"),
        ("main.rs", "fn main() {}"),
        ("notes.txt", "Grüße, 世界"),
    ];
    for (path, body) in files {
        let mut asked = content(body, path);
        asked["options"] = json!({ "stamp_type": "rich" });
        let reply = it.post("/stamp", &asked);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let stamped = &reply.json()["data"]["stamped_content"];
        let checked = it.web().post(&format!("{PREFIX}/validate"), &json!({ "content": stamped }));
        assert_eq!(checked.json()["is_valid"], true, "{path}: {checked:?}");
    }
}

pub fn validation(it: &mut Deployment) {
    let reply = it.post("/stamp", &content("pay 10", "docs/bill.txt"));
    let stamped = text(&reply.json()["data"]["stamped_content"]);
    for (text, is_valid) in [(stamped.clone(), true), (stamped.replace("10", "1000"), false)] {
        let reply = it.post("/validate", &json!({ "content": text }));
        assert_eq!((reply.status, &reply.json()["is_valid"]), (200, &json!(is_valid)), "{reply:?}");
    }
}

pub fn large_file(it: &mut Deployment) {
    let line = "every line of a large file\n";
    let reply = it.post("/stamp", &content(&line.repeat((5 << 20) / line.len()), "large.txt"));
    assert_eq!(reply.status, 200, "{reply:?}");
    let large = line.repeat((40 << 20) / line.len());
    write(&it.desk.place.repo, "large.bin", &large);
    it.desk.place.scan();
    let shown = it.desk.place.home.must(&["show", &digest(&large)]);
    it.story.prints("$ stampd show HASH", &shown);
    assert!(shown.contains("large.bin"), "{shown}");
}

pub fn invalid_namespace(it: &mut Deployment) {
    let mut asked = content("nowhere", "docs/nowhere.txt");
    asked["namespace"] = json!("only.two");
    let reply = it.post("/stamp", &asked);
    assert_eq!((reply.status, &reply.json()["code"]), (422, &json!("NAMESPACE_INVALID")));
    assert_eq!(rows_of(it, &digest("nowhere")), 0);
}

pub fn empty_content(it: &mut Deployment) {
    let reply = it.post("/stamp", &content("", "docs/empty.txt"));
    assert_eq!((reply.status, &reply.json()["code"]), (422, &json!("VALIDATION_ERROR")));
    let path = write(&it.desk.place.repo, "empty.txt", "");
    it.desk.place.scan();
    let log = it.desk.place.home.must(&["log", path.to_str().expect("UTF-8")]);
    it.story.prints("$ stampd log empty.txt", &log);
    assert!(log.contains(&digest("")[..12]), "{log}");
}

pub fn ten_files(it: &mut Deployment) {
    for machine in [&it.desk, &it.train] {
        for number in 0..10 {
            write(&machine.place.repo, &format!("ten/{number}.txt"), format!("file {number}\n"));
        }
    }
    it.story.says("ten files are saved on each machine");
    it.settle();
    let sql = "SELECT count(*) FROM stamp_events WHERE path LIKE 'ten/%' AND kind = 'created'";
    assert_eq!(it.count(sql), 20);
    it.story.says("twenty rows: every file once, by either road");
}

pub fn concurrency(it: &mut Deployment) {
    let web = it.web();
    let ask = |caller: usize| {
        for number in 0..10 {
            let own = content(&format!("caller {caller}, {number}"), "docs/own.txt");
            let shared = content(&format!("everybody's {number}"), "docs/shared.txt");
            for body in [own, shared] {
                let reply = web.post(&format!("{PREFIX}/stamp"), &body);
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        }
    };
    std::thread::scope(|scope| {
        for caller in 0..20 {
            scope.spawn(move || ask(caller));
        }
    });
    let at = |path: &str| {
        it.count(&format!("SELECT count(*) FROM metadata_stamps WHERE file_path = '{path}'"))
    };
    assert_eq!((at("docs/own.txt"), at("docs/shared.txt")), (200, 10));
    it.story.says("20 callers, 400 requests: 200 contents of their own, 10 that they all sent");
}

pub fn kafka_event(it: &mut Deployment) {
    let mut asked = content("seen from the host", "docs/event.txt");
    asked["correlation_id"] = json!("demo-1");
    let reply = it.post("/stamp", &asked).json();
    let event = wait_for("the event is on the topic", || {
        let records = it.records();
        let is_ours = |event: &Value| event["payload"]["stamp_id"] == reply["stamp_id"];
        records.iter().map(crate::support::kafka::Record::json).find(is_ours)
    });
    it.story.shows("the outer listener of Kafka, read from the host", &event.to_string());
    assert_eq!(event["event_type"], "STAMP_CREATED");
    assert_eq!(event["correlation_id"], "demo-1");
}

pub fn persistence(it: &mut Deployment) {
    let topic = "dev.omninode_bridge.onex.evt.workflow-started.v1";
    // It goes with its broker, which may be away when this ends.
    std::mem::forget(Topic::named(topic, 1, it.broker.client()));
    let producer: BaseProducer = it.broker.client().create().expect("a producer starts");
    let correlation = uuid();
    let event = started(&correlation).to_string();
    it.story.shows(&format!("{event} onto {topic}"), "once, twice, three times");
    for _ in 0..3 {
        let record = BaseRecord::to(topic).key(&correlation).payload(&event);
        producer.send(record).expect("the queue has room");
    }
    producer.flush(DEADLINE).expect("the broker confirms what was sent");
    let sql = "SELECT count(*) FROM workflow_executions";
    wait_until("the adapter has written it", || it.count(sql) > 0);
    let read =
        format!("SELECT sum(next_offset)::bigint FROM adapter_offsets WHERE topic = '{topic}'");
    wait_until("the adapter has read all three", || it.count(&read) == 3);
    assert_eq!(it.count(sql), 1);
    it.story.says("one row of workflow_executions");
}
