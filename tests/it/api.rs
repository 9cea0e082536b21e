//! The stamping API on a real listener, over the record and over a spool: one suite for both.

pub mod contract;
mod limits;
mod transcript;

use serde_json::{Value, json};
use stampd::api::{self, Backend, PREFIX, State};
use stampd::runtime::clock::Clock;
use stampd::runtime::http::{self, serve};
use stampd::runtime::metrics::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::spool::{Running, config, seed};
use crate::stamps::desk;
use crate::support::block_on;
use crate::support::record::Record;

/// A listener in this process; it ends with the test's runtime.
pub struct Server(pub std::net::SocketAddr);

pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Value,
}

impl Answer {
    /// A header's value, by its name in lower case.
    fn header(&self, name: &str) -> Option<&str> {
        let of_name = |line: &str| line.split_once(": ").is_some_and(|(key, _)| key == name);
        let line = self.head.lines().find(|line| of_name(line))?;
        line.split_once(": ").map(|(_, value)| value)
    }
}

/// A state over a backend, with figures of its own.
fn state(backend: Backend, clock: Clock) -> State {
    State::new(backend, &Metrics::new(), clock)
}

/// Runs a test against a server over a spool of its own.
fn over_a_spool(clock: Clock, test: impl AsyncFnOnce(&Server) + Send) {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(&config(dir.path()), &seed(), &clock);
    let contents = running.spool.contents().unwrap();
    block_on(|| async { test(&Server::start(state(Backend::Spool(contents), clock)).await).await });
}

impl Server {
    async fn start(state: State) -> Self {
        Self::start_with(state, http::Config::default()).await
    }

    async fn start_with(state: State, config: http::Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = api::Stamping::new(state);
        let config = http::Config { refuse: api::refuse, ..config };
        #[expect(clippy::disallowed_methods, reason = "ends with the runtime of the test")]
        tokio::spawn(serve(listener, routes, config, CancellationToken::new()));
        Self(address)
    }

    async fn send(&self, line: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.0).await.unwrap();
        let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        let reply = String::from_utf8(reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
        Answer { status, head: head.to_owned(), body }
    }

    async fn post(&self, route: &str, body: &Value) -> Answer {
        self.send(&format!("POST {route}"), "", body.to_string().as_bytes()).await
    }

    async fn get(&self, route: &str) -> Answer {
        self.send(&format!("GET {route}"), "", b"").await
    }

    async fn refuses(&self, line: &str, headers: &str, body: &[u8], status: u16, code: &str) {
        let answer = self.send(line, headers, body).await;
        let told = &answer.body;
        assert_eq!((answer.status, &told["code"]), (status, &json!(code)), "{line} {told}");
        assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
        assert_eq!(told["status"], "error");
        assert_eq!(told["success"], false);
        assert_eq!(
            (&told["status_code"], &told["metadata"]["status_code"]),
            (&json!(status), &json!(status))
        );
        assert_eq!(told["error"][0]["code"], code);
        for member in ["type", "title", "detail", "message", "error_message"] {
            assert!(told[member].is_string(), "{member} of {told}");
        }
        let text = told.to_string();
        for inside in ["/src/", ".rs", "/tmp", "SELECT", "INSERT", "panicked", "backtrace"] {
            assert!(!text.contains(inside), "{inside} in {text}");
        }
    }
}

async fn promises_hold(server: &Server) {
    stamps_are_kept(server).await;
    batches_are_told_item_by_item(server).await;
    texts_are_hashed_and_checked(server).await;
    bad_input_is_refused(server).await;
    the_process_tells_of_itself(server).await;
}

async fn stamps_are_kept(server: &Server) {
    let order = json!({
        "content": "Hello World\n", "file_path": "/srv/x.md", "version": 3, "metadata_version": "0.2",
        "op_id": "7f1d3f5e-53d5-4c6a-8a55-0f4c4f0d6a11", "metadata": {"author": "Ada"},
        "correlation_id": "of-the-body", "protocol_version": "1.1", "unknown": [1],
    });
    let line = format!("POST {PREFIX}/stamp");
    let first =
        server.send(&line, "X-Correlation-ID: of-the-head\r\n", order.to_string().as_bytes()).await;
    assert_eq!(first.status, 200, "{}", first.body);
    assert!(first.head.contains("x-correlation-id: of-the-body"), "{}", first.head);
    let (flat, data) = (&first.body, &first.body["data"]);
    assert_eq!(
        (&flat["status"], &flat["success"], &flat["error"]),
        (&json!("success"), &json!(true), &Value::Null)
    );
    assert!(flat["file_hash"].as_str().unwrap().starts_with("41f83941"));
    assert_eq!(flat["stamp_data"]["hash"], flat["file_hash"]);
    assert_eq!(flat["kafka_event_published"], false);
    assert!(flat["execution_time_ms"].is_u64());
    assert_eq!((&data["version"], &data["metadata_version"]), (&json!(3), &json!("0.2")));
    assert_eq!(data["op_id"], order["op_id"]);
    let stamped = format!("{}\nHello World\n", data["stamp"].as_str().unwrap());
    assert_eq!(data["stamped_content"], json!(stamped));
    assert!(stamped.contains(",author=Ada"), "{stamped}");
    let again = server.post("/stamp", &order).await.body;
    for member in ["stamp_id", "created_at", "stamp", "stamped_content", "version"] {
        assert_eq!(again["data"][member], data[member], "{member}");
    }
    let held = server.get(&format!("/stamp/{}", flat["file_hash"].as_str().unwrap())).await.body;
    assert_eq!(held["data"]["stamp_id"], flat["stamp_id"]);
    assert_eq!(held["metadata"]["occurrences"].as_array().unwrap().len(), 1);
    let claim = json!({"file_hash": "ab".repeat(32), "file_path": "y", "file_size": 7, "stamp_data": {"k": 1}});
    let claim = server.post("/stamp", &claim).await.body;
    assert_eq!((&claim["stamp_data"]["k"], &claim["data"]["stamp"]), (&json!(1), &Value::Null));
    let page = server.get("/namespace/omninode.services.metadata?limit=1").await.body;
    assert_eq!(
        page["data"]["pagination"],
        json!({"limit": 1, "offset": 0, "total": 2, "has_more": true})
    );
    assert_eq!(page["data"]["stamps"].as_array().unwrap().len(), 1);
}

async fn batches_are_told_item_by_item(server: &Server) {
    let items = json!([{"id": "a", "content": "one"}, {"id": "b"}, {"content": "one"}, 7]);
    let told = server.post("/batch", &json!({"items": items, "namespace": "a.b.c"})).await;
    assert_eq!((told.status, &told.body["status"]), (200, &json!("partial")));
    let (data, results) = (&told.body["data"], &told.body["data"]["results"]);
    assert_eq!(
        (&data["total_items"], &data["successful"], &data["failed"]),
        (&json!(4), &json!(2), &json!(2))
    );
    assert_eq!(results[0]["stamp_id"], results[2]["stamp_id"]);
    assert_eq!(
        (&results[1]["success"], &results[1]["error_code"]),
        (&json!(false), &json!("VALIDATION_ERROR"))
    );
    let held = server.get("/namespace/a.b.c").await.body;
    assert_eq!(held["total_stamps"], 1);
    let nul = json!([{"id": "nul", "content": "a\0"}, {"id": "good", "content": "b"}]);
    let told = server.post("/batch", &json!({"items": nul, "namespace": "a.b.d"})).await.body;
    let results = &told["data"]["results"];
    assert_eq!(
        (&results[0]["error_code"], &results[1]["success"]),
        (&json!("VALIDATION_ERROR"), &json!(true)),
        "{told}"
    );
    assert_eq!(server.get("/namespace/a.b.d").await.body["total_stamps"], 1);
    let none = json!({"items": []}).to_string();
    server.refuses("POST /batch", "", none.as_bytes(), 400, "EMPTY_BATCH_REQUEST").await;
    let many = json!({"items": vec![json!({"content": "x"}); 1_001]}).to_string();
    server.refuses("POST /batch", "", many.as_bytes(), 413, "BATCH_TOO_LARGE").await;
}

async fn texts_are_hashed_and_checked(server: &Server) {
    let form = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nHello World\n\r\n--x--\r\n";
    let media = "Content-Type: multipart/form-data; boundary=x\r\n";
    let of_form = server.send("POST /hash?namespace=default", media, form.as_bytes()).await.body;
    let of_json =
        server.post("/hash", &json!({"content": "Hello World\n", "namespace": "test"})).await.body;
    assert_eq!(of_form["file_hash"], of_json["data"]["hash"]);
    assert_eq!(of_form["data"]["file_size_bytes"], 12);
    server.refuses("POST /hash", media, b"--x--\r\n", 422, "VALIDATION_ERROR").await;
    let plain = server.post("/validate", &json!({"content": "no stamp"})).await.body;
    assert_eq!(
        (&plain["data"]["is_valid"], &plain["data"]["stamps_found"]),
        (&json!(false), &json!(0))
    );
    let rich = json!({"content": "text", "options": {"stamp_type": "rich"}});
    let rich = server.post("/stamp", &rich).await.body["data"]["stamped_content"].clone();
    for route in ["/validate", "/validate-protocol"] {
        let valid = server.post(route, &json!({"content": rich})).await.body;
        assert_eq!(valid["data"]["is_valid"], true, "{route} {valid}");
    }
    protocol_is_weighed_by_its_level(server, rich.as_str().unwrap()).await;
}

async fn protocol_is_weighed_by_its_level(server: &Server, stamped: &str) {
    let old = stamped.replace("protocol_version: 1.0", "protocol_version: 0.9");
    let foreign = stamped.replace("hash: ", "hash: z");
    let both = format!("{stamped}\n{foreign}");
    for (content, level, is_valid, compliance) in [
        (stamped, "strict", true, "full"),
        ("no stamp", "lenient", false, "none"),
        (&old, "strict", false, "none"),
        (&old, "moderate", true, "full"),
        (&foreign, "moderate", false, "none"),
        (&both, "standard", false, "partial"),
        (&both, "lenient", true, "full"),
    ] {
        let body = json!({"content": content, "validation_level": level});
        let told = server.post("/validate-protocol", &body).await.body;
        let result = &told["data"]["validation_result"];
        assert_eq!(
            (&result["is_valid"], &result["compliance_level"]),
            (&json!(is_valid), &json!(compliance)),
            "{level} {told}"
        );
        assert_eq!(told["metadata"]["target_protocol"], "O.N.E.v0.1");
    }
    let body = br#"{"content":"a","validation_level":"harsh"}"#;
    server.refuses("POST /validate-protocol", "", body, 422, "VALIDATION_ERROR").await;
}

async fn bad_input_is_refused(server: &Server) {
    let deep = "[".repeat(10_000);
    for body in [
        &b"{}"[..],
        br#"{"content":""}"#,
        br#"{"content":7}"#,
        br#"{"content":"#,
        b"",
        b"[]",
        deep.as_bytes(),
        br#"{"content":"a\u0000"}"#,
        br#"{"content":"\ud800"}"#,
        b"{\"content\":\"\xff\"}",
        br#"{"content":"a","content":"b"}"#,
        br#"{"content":"a","version":"1"}"#,
        br#"{"content":"a","op_id":"x"}"#,
        br#"{"content":"a","metadata":[]}"#,
        br#"{"content":"a","protocol_version":"12345678901"}"#,
    ] {
        server.refuses("POST /stamp", "", body, 422, "VALIDATION_ERROR").await;
    }
    for namespace in ["", "default", "a.b", "A.b.c"] {
        let body = json!({"content": "a", "namespace": namespace}).to_string();
        server.refuses("POST /stamp", "", body.as_bytes(), 422, "NAMESPACE_INVALID").await;
    }
    let short = format!("GET /stamp/{}", "a".repeat(63));
    server.refuses(&short, "", b"", 404, "STAMP_NOT_FOUND").await;
    for query in ["limit=-1", "limit=0", "limit=1001", "limit=x", "offset=-1"] {
        let line = format!("GET /namespace/a.b.c?{query}");
        server.refuses(&line, "", b"", 422, "VALIDATION_ERROR").await;
    }
    server.refuses("GET /nowhere", "", b"", 404, "NOT_FOUND").await;
    server.refuses("DELETE /stamp", "", b"", 405, "METHOD_NOT_ALLOWED").await;
    server.refuses("GET /health", "Host: evil.example\r\n", b"", 403, "FORBIDDEN").await;
    let origin = "Origin: https://evil.example\r\n";
    server.refuses("POST /stamp", origin, br#"{"content":"a"}"#, 403, "FORBIDDEN").await;
}

async fn the_process_tells_of_itself(server: &Server) {
    assert_eq!(server.get("/health").await.body["status"], "healthy");
    let enveloped = server.get(&format!("{PREFIX}/health")).await.body;
    assert_eq!(
        (&enveloped["status"], &enveloped["data"]["status"]),
        (&json!("success"), &json!("healthy"))
    );
    for route in ["/", "/health/live", "/health/ready"] {
        assert_eq!(server.get(route).await.status, 200, "{route}");
    }
    let text = server.get("/metrics").await.body;
    assert!(text.as_str().unwrap().contains("stamps_created_total"), "{text}");
    let accept = "Accept: application/json\r\n";
    let summary = server.send("GET /metrics", accept, b"").await.body;
    assert!(summary["data"]["hash_generation"]["count"].as_u64().unwrap() > 0);
}

#[test]
fn every_route_keeps_its_promises_over_a_spool() {
    over_a_spool(Clock::system(), promises_hold);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_keeps_its_promises_over_the_record() {
    let mut record = Record::create().await;
    let login = record.database.login("stampd_server");
    let backend = Backend::Store(desk(&login));
    promises_hold(&Server::start(state(backend, Clock::system())).await).await;
}
