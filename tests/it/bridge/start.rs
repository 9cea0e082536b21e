//! Starting with little, refusing what is unsafe, and stopping in order.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use super::{Bridge, STAMP, content, home};
use crate::support::block_on;
use crate::support::postgres::Database;
use crate::support::process::Home;
use crate::support::wait::wait_until;

#[test]
fn the_older_services_variables_and_a_blank_database_are_all_it_takes() {
    let database = Database::create();
    let home = home(&database.admin());
    let bridge = Bridge::start(&home, "bridge");
    let reply = bridge.web.post(STAMP, &json!({ "content": "Hello World" }));
    assert_eq!(reply.status, 200, "{reply:?}");
    let json = reply.json();
    let hash = "41f8394111eb713a22165c46c90ab8f0fd9399c92028fd6d288944b23ff5bf76";
    assert_eq!((&json["status"], &json["success"]), (&json!("success"), &json!(true)));
    assert_eq!((&json["file_hash"], &json["data"]["file_hash"]), (&json!(hash), &json!(hash)));
    assert_eq!(json["kafka_event_published"], false);
    let held = bridge.web.get(&format!("/stamp/{hash}"));
    assert_eq!(held.json()["data"]["id"], json["stamp_id"]);
    let health = bridge.web.get("/health").json();
    assert_eq!(health["status"], "healthy", "{health}");
    assert!(bridge.process.terminate().success());
}

#[test]
fn another_programs_table_is_left_to_a_person_and_the_bridge_is_not_ready_until_then() {
    let database = Database::create();
    let admin = database.admin();
    let foreign = "CREATE TABLE metadata_stamps (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
         file_hash varchar(64) NOT NULL, namespace varchar(255), stamp_data jsonb NOT NULL,
         created_at timestamptz NOT NULL DEFAULT now())";
    block_on(|| async { admin.connect().await.batch_execute(foreign).await.expect("it is made") });
    let home = home(&admin);
    let bridge = Bridge::start(&home, "bridge");
    wait_until("the schema is named", || {
        let health = bridge.web.get("/health").json();
        let reason = &health["components"]["schema"]["details"]["reason"];
        reason.as_str().is_some_and(|reason| reason.contains("stampd migrate --check"))
    });
    assert_eq!(bridge.web.get("/health/ready").status, 503);
    assert_eq!(bridge.web.post(STAMP, &content("early")).status, 503);
    // With the variables that the bridge was started with.
    home.must(&["migrate"]);
    wait_until("the bridge is ready", || bridge.web.get("/health/ready").status == 200);
    wait_until("stamps are taken", || bridge.web.post(STAMP, &content("late")).status == 200);
    assert!(bridge.process.terminate().success());
}

#[test]
fn without_a_database_it_says_what_to_set() {
    let home = Home::new();
    home.configure("");
    let output = home.run(&["bridge"]);
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("set [postgres] url, or POSTGRES_HOST"), "{text}");
}

#[test]
fn beyond_loopback_it_wants_a_token_or_to_be_told_and_then_warns() {
    let database = Database::create();
    let mut home = home(&database.admin());
    home.set("SERVICE_HOST", "0.0.0.0");
    let output = home.run(&["bridge"]);
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("beyond loopback everybody could call"), "{text}");

    home.set("STAMPD_API__ALLOW_INSECURE", "true");
    let mut process = home.start_role(&["bridge"], "open");
    process.wait_ready();
    assert!(process.log().contains("everybody who reaches this address may stamp"));
    assert!(process.terminate().success());
}

#[test]
fn with_a_token_nobody_stamps_without_it() {
    let database = Database::create();
    let mut home = home(&database.admin());
    home.set("API_TOKEN", "sesame");
    home.set("STAMPD_API__AUTH", "token");
    home.set("STAMPD_API__TOKEN", "env:API_TOKEN");
    let bridge = Bridge::start(&home, "bridge");
    let body = content("secret").to_string();
    for (token, status) in [(None, 401), (Some("Bearer open"), 401), (Some("Bearer sesame"), 200)] {
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(token.map(|token| ("Authorization", token)));
        let reply = bridge.web.ask("POST", STAMP, &headers, &body).unwrap();
        assert_eq!(reply.status, status, "{token:?}: {reply:?}");
    }
    assert_eq!(bridge.web.get("/health/live").status, 200, "whoever looks after it needs no token");
    assert_eq!(database.admin().value::<i64>("SELECT count(*) FROM metadata_stamps"), 1);
}

#[test]
fn a_foreign_host_or_page_gets_no_further_than_the_door() {
    let database = Database::create();
    let home = home(&database.admin());
    let bridge = Bridge::start(&home, "bridge");
    let body = content("rebound").to_string();
    for foreign in [("Host", "evil.example"), ("Origin", "https://evil.example")] {
        let headers = [("Content-Type", "application/json"), ("X-Correlation-ID", "c-1"), foreign];
        let reply = bridge.web.ask("POST", STAMP, &headers, &body).unwrap();
        assert_eq!(reply.status, 403, "{reply:?}");
        assert_eq!(reply.json()["code"], "FORBIDDEN");
        assert_eq!(reply.json()["success"], false);
    }
    assert_eq!(database.admin().value::<i64>("SELECT count(*) FROM metadata_stamps"), 0);
}

#[test]
fn a_stop_lets_a_running_request_end_and_takes_no_new_one() {
    let database = Database::create();
    let home = home(&database.admin());
    let bridge = Bridge::start(&home, "bridge");
    let body = content("late").to_string();
    let (first, rest) = body.split_at(10);
    let mut running = TcpStream::connect(bridge.web.0).unwrap();
    let head = format!(
        "POST {STAMP} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    running.write_all(head.as_bytes()).unwrap();
    // The route has begun to read when it asks for the body.
    let mut go_on = [0; 25];
    running.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    running.write_all(first.as_bytes()).unwrap();

    bridge.process.signal(rustix::process::Signal::TERM);
    crate::support::wait::wait_until("new connections are refused", || {
        TcpStream::connect(bridge.web.0).is_err()
    });
    running.write_all(rest.as_bytes()).unwrap();
    let mut reply = String::new();
    running.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    assert!(bridge.process.wait().success());
    assert_eq!(database.admin().value::<i64>("SELECT count(*) FROM metadata_stamps"), 1);
}
