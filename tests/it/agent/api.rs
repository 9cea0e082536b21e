//! The stamping API on the agent: with no server anywhere, and what becomes of it when there is one.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use stampd::model::digest::Digest;
use stampd::runtime::time::Timestamp;

use super::delivery::Servers;
use super::{Workplace, text};
use crate::support::block_on;
use crate::support::client::Client;
use crate::support::process::{Agent, moment};
use crate::support::wait::wait_until;

/// The API on a port that the system chooses.
const API: &str = "[api]\nlisten = \"127.0.0.1:0\"\n";

const STAMP: &str = "/api/v1/metadata-stamping/stamp";

/// Starts the agent of a place and says where its API listens.
fn start(place: &Workplace) -> (Agent, String) {
    let agent = place.home.start_ready();
    let listen = text(&place.status()["api"]["listen"]);
    (agent, listen)
}

fn request(content: &str) -> Value {
    json!({
        "content": content, "file_path": format!("{content}.md"), "version": 3,
        "metadata": {"ratio": 0.5, "of": content}, "correlation_id": format!("request {content}"),
    })
}

fn stamp(client: &mut Client, content: &str) -> Value {
    let (status, reply) = client.post(STAMP, &request(content));
    assert_eq!(status, 200, "{reply}");
    reply
}

/// What `metadata_stamps` holds, by id: creation time, text of the stamp, path and metadata.
fn rows(servers: &Servers) -> BTreeMap<String, Value> {
    let admin = servers.database.admin();
    let sql = "SELECT id::text, jsonb_build_object('file_hash', file_hash, 'file_path', file_path,
                 'version', version, 'stamp_data', stamp_data)::text FROM metadata_stamps";
    let rows = block_on(|| async {
        let client = crate::support::postgres::Address::connect(&admin).await;
        client.query(sql, &[]).await.expect("the table is there")
    });
    let parsed = |row: &tokio_postgres::Row| {
        (row.get(0), serde_json::from_str(row.get(1)).expect("a row is JSON"))
    };
    rows.iter().map(parsed).collect()
}

#[test]
fn what_was_stamped_with_no_server_anywhere_comes_to_both_once_and_the_same() {
    let mut place = Workplace::new(API);
    let (agent, listen) = start(&place);
    let mut client = Client::connect(&listen);
    let mut held = BTreeMap::new();
    for n in 0..50 {
        let reply = stamp(&mut client, &format!("content {}", n % 40));
        assert_eq!(reply["kafka_event_published"], false);
        let data = &reply["data"];
        let first: &mut Value =
            held.entry(text(&reply["stamp_id"])).or_insert_with(|| data.clone());
        assert_eq!((&first["created_at"], &first["stamp"]), (&data["created_at"], &data["stamp"]));
    }
    assert_eq!(held.len(), 40);
    assert_eq!(place.status()["api"]["contents"], 40);
    drop(client);
    assert!(agent.terminate().success());

    let servers = Servers::new(&mut place);
    place.configure(&format!("{API}\n{}", servers.both()));
    let (agent, listen) = start(&place);
    place.home.must(&["sync", "--wait", "--timeout", "60s"]);
    servers.assert_hold(&place.home.must(&["log", "--all", "--format", "jsonl"]));
    let rows = rows(&servers);
    assert_eq!(rows.len(), held.len());
    let mut client = Client::connect(&listen);
    for (id, row) in &rows {
        let (status, told) = client.get(&format!("{STAMP}/{}", text(&row["file_hash"])));
        assert_eq!(status, 200, "{told}");
        let told = &told["data"]["stamp_data"];
        for (key, value) in row["stamp_data"].as_object().expect("an object") {
            if key == "timestamp" {
                assert_eq!(
                    instant(&told[key]),
                    instant(value),
                    "the same moment in a client's form"
                );
            } else {
                assert_eq!(told[key], *value, "the spool tells the same row");
            }
        }
        assert_eq!(row["version"], 3);
        assert_eq!(row["stamp_data"]["stamp"], held[id]["stamp"], "the text of the first reply");
    }
    let mut events = BTreeMap::new();
    for record in servers.topic.read_to_end() {
        let event = record.json();
        if event["payload"]["stamp"]["kind"] == "api" {
            let id = text(&event["payload"]["stamp_id"]);
            assert!(text(&event["correlation_id"]).starts_with("request content "));
            *events.entry(id).or_insert(0) += 1;
        }
    }
    assert!(events.keys().eq(rows.keys()) && events.values().all(|&count| count == 1));
    drop(client);
    assert!(agent.terminate().success());
}

#[test]
fn killed_under_load_it_has_every_stamp_that_it_acknowledged() {
    let place = Workplace::new(API);
    let mut acknowledged: BTreeMap<String, String> = BTreeMap::new();
    for round in 0..5_u32 {
        let (agent, listen) = start(&place);
        let count = AtomicUsize::new(0);
        let stamped = std::thread::scope(|scope| {
            let clients = (0..8).map(|client| {
                let (listen, count) = (&listen, &count);
                scope.spawn(move || stamp_until_it_dies(listen, round, client, count))
            });
            let clients: Vec<_> = clients.collect();
            // Not what the agent counts: it may have stamped what the last one died of telling.
            wait_until("the first stamps", || count.load(Ordering::Relaxed) > 0);
            std::thread::sleep(moment(round, Duration::from_millis(300)));
            agent.kill();
            let stamped = clients.into_iter().map(|client| client.join().expect("no panic"));
            stamped.flatten().collect::<Vec<_>>()
        });
        assert!(!stamped.is_empty());
        acknowledged.extend(stamped);
    }
    let (agent, listen) = start(&place);
    let mut client = Client::connect(&listen);
    for (id, hash) in &acknowledged {
        let (status, told) = client.get(&format!("{STAMP}/{hash}"));
        assert_eq!(status, 200, "{hash} is missing: {told}");
        assert_eq!(told["data"]["id"], **id, "{told}");
    }
    drop(client);
    assert!(agent.terminate().success());
}

/// Stamps one content after the other; returns the ids and hashes of those that were acknowledged.
fn stamp_until_it_dies(
    listen: &str,
    round: u32,
    client: u32,
    count: &AtomicUsize,
) -> Vec<(String, String)> {
    let mut connection = Client::connect(listen);
    let mut stamped = Vec::new();
    for n in 0.. {
        let content = format!("round {round} client {client} content {n}");
        let Ok((status, reply)) = connection.try_post(STAMP, &request(&content)) else { break };
        assert_eq!(status, 200, "{reply}");
        stamped.push((text(&reply["stamp_id"]), text(&reply["file_hash"])));
        count.fetch_add(1, Ordering::Relaxed);
    }
    stamped
}

#[test]
fn a_hundred_identical_requests_at_once_are_one_stamp() {
    let place = Workplace::new(API);
    let (agent, listen) = start(&place);
    let replies: Vec<Value> = std::thread::scope(|scope| {
        let ask = || stamp(&mut Client::connect(&listen), "the same");
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for reply in &replies {
        assert_eq!(reply["stamp_id"], replies[0]["stamp_id"]);
        assert_eq!(reply["data"]["created_at"], replies[0]["data"]["created_at"]);
        assert_eq!(reply["data"]["stamp"], replies[0]["data"]["stamp"]);
    }
    assert_eq!(place.status()["api"]["contents"], 1);
    assert_eq!(place.log().iter().filter(|body| body["kind"] == "api").count(), 1);
    assert!(agent.terminate().success());
}

#[test]
fn what_was_stamped_is_in_the_log_and_shown_by_its_hash() {
    let place = Workplace::new(API);
    let (agent, listen) = start(&place);
    let reply = stamp(&mut Client::connect(&listen), "Hello World");
    let hash = text(&reply["file_hash"]);
    assert_eq!(hash, Digest::of(b"Hello World").to_string());
    assert!(agent.terminate().success());
    let log = place.log();
    let [body] = log.iter().filter(|body| body["kind"] == "api").collect::<Vec<_>>()[..] else {
        panic!("one stamp: {log:?}")
    };
    assert_eq!(body["path"], "Hello World.md");
    assert_eq!(body["api"]["stamp_id"], reply["stamp_id"]);
    assert_eq!(body.get("repo"), None);
    let shown = place.home.must(&["show", &hash, "--format", "jsonl"]);
    assert_eq!(serde_json::from_str::<Value>(&shown).expect("one body"), *body);
    assert!(place.home.must(&["show", &hash]).contains("Hello World.md"));
}

#[test]
fn a_port_that_is_taken_is_named_and_nothing_is_left_running() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let place = Workplace::new(&format!("[api]\nlisten = \"{address}\"\n"));
    let refused = place.home.run(&["run"]);
    assert_eq!(refused.status.code(), Some(75));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains(&format!("listen on {address}")) && said.contains("[api] listen"),
        "{said}"
    );
    drop(taken);
    let (agent, listen) = start(&place);
    assert_eq!(listen, address);
    assert!(agent.terminate().success());
}

#[test]
fn without_the_section_there_is_no_listener_and_no_stream() {
    let place = Workplace::new("");
    let agent = place.home.start_ready();
    assert_eq!(place.status().get("api"), None);
    assert!(place.log().iter().all(|body| body["repo"] == "app"));
    assert!(agent.terminate().success());
}

#[test]
fn an_agent_may_stamp_by_request_alone() {
    let place = Workplace::new("");
    place.home.configure(API);
    let (agent, listen) = start(&place);
    stamp(&mut Client::connect(&listen), "alone");
    assert_eq!(place.status()["state"], "healthy");
    assert!(agent.terminate().success());
    assert_eq!(place.log().len(), 2, "opened, and the stamp");
}

#[test]
fn a_request_under_way_is_answered_before_the_agent_ends() {
    let place = Workplace::new(API);
    let (agent, listen) = start(&place);
    let count = AtomicUsize::new(0);
    let stamped = std::thread::scope(|scope| {
        let client = scope.spawn(|| stamp_until_it_dies(&listen, 0, 0, &count));
        wait_until("the first stamps", || count.load(Ordering::Relaxed) > 10);
        assert!(agent.terminate().success());
        client.join().expect("no panic")
    });
    let logged = place.log().iter().filter(|body| body["kind"] == "api").count();
    assert_eq!(logged, stamped.len(), "what was stamped was told to its caller");
}

fn instant(time: &Value) -> Timestamp {
    Timestamp::parse(time.as_str().expect("a time is text")).expect("it is a time")
}
