//! What is too large, too slow or never ends, and how much memory it costs.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};
use stampd::api::Backend;
use stampd::runtime::clock::Clock;
use stampd::runtime::http::{Config, Pace};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Server, over_a_spool, state};
use crate::agent::Workplace;
use crate::spool::{Running, config, seed};
use crate::support::block_on;

const MIB: usize = 1 << 20;

/// Short, for what a test waits for.
const SHORT: Duration = Duration::from_millis(50);

/// What a process may have held at its peak when it has hashed a file larger than all of this.
const PEAK_KIB_MAX: u64 = 96 * 1_024;

fn content_of(bytes: usize) -> Vec<u8> {
    let mut body = b"{\"content\":\"".to_vec();
    body.resize(body.len() + bytes, b'x');
    body.extend_from_slice(b"\"}");
    body
}

#[test]
fn a_content_of_100_mib_is_stamped_and_one_byte_more_is_refused() {
    over_a_spool(Clock::system(), async |server| {
        let whole = server.send("POST /stamp", "", &content_of(100 * MIB)).await;
        assert_eq!((whole.status, &whole.body["data"]["file_size"]), (200, &json!(100 * MIB)));
        let more = content_of(100 * MIB + 1);
        for route in ["/stamp", "/hash", "/validate", "/validate-protocol"] {
            let line = format!("POST {route}");
            server.refuses(&line, "", &more, 413, "CONTENT_TOO_LARGE").await;
        }
        let half = "x".repeat(50 * MIB + 1);
        let batch = json!({"items": [{"content": &half}, {"content": &half}]}).to_string();
        server.refuses("POST /batch", "", batch.as_bytes(), 413, "BATCH_TOO_LARGE").await;
        assert_eq!(server.get("/health").await.body["status"], "healthy");
    });
}

/// Sends a head and then the same piece until the server has had enough; gives its reply.
async fn pour(server: &Server, head: &str, first: &[u8], piece: &[u8], times: usize) -> String {
    let mut stream = TcpStream::connect(server.0).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let _ = stream.write_all(first).await;
    for _ in 0..times {
        if stream.write_all(piece).await.is_err() {
            break;
        }
    }
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply).await;
    String::from_utf8(reply).unwrap()
}

#[test]
fn a_body_that_never_ends_is_cut_off_and_one_that_announces_too_much_never_begins() {
    over_a_spool(Clock::system(), async |server| {
        let head = "POST /stamp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = format!("{MIB:x}\r\n{}\r\n", "x".repeat(MIB));
        let reply = pour(server, head, b"", chunk.as_bytes(), 140).await;
        assert!(
            reply.starts_with("HTTP/1.1 413") && reply.contains("CONTENT_TOO_LARGE"),
            "{reply}"
        );
        let head = "POST /stamp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 134217729\r\n\r\n";
        let reply = pour(server, head, b"", b"", 0).await;
        assert!(
            reply.starts_with("HTTP/1.1 413") && reply.contains("CONTENT_TOO_LARGE"),
            "{reply}"
        );
        assert_eq!(server.get("/health").await.status, 200);
    });
}

#[test]
fn a_body_that_trickles_and_a_head_that_does_not_come_are_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(&config(dir.path()), &seed(), &Clock::system());
    let contents = running.spool.contents().unwrap();
    let pace = Pace { grace: SHORT, bytes_per_s: 1_000_000 };
    let config = Config { pace, header_timeout: SHORT, ..Config::default() };
    block_on(|| async {
        let state = state(Backend::Spool(contents), Clock::system());
        let server = Server::start_with(state, config).await;
        let head = "POST /stamp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
        let reply = pour(&server, head, b"", b"", 0).await;
        assert!(reply.starts_with("HTTP/1.1 408") && reply.contains("REQUEST_TIMEOUT"), "{reply}");
        let reply = pour(&server, "POST /stamp HTTP/1.1\r\nHo", b"", b"", 0).await;
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 408"), "{reply}");
        assert_eq!(server.get("/health").await.status, 200);
    });
}

#[test]
fn a_form_is_refused_for_what_is_wrong_with_it() {
    let media = "Content-Type: multipart/form-data; boundary=x\r\n";
    let part = |name: &str, text: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
    };
    let file = part("file", "a");
    over_a_spool(Clock::system(), async |server| {
        for (form, code) in [
            (String::new(), "VALIDATION_ERROR"),
            ("--x--\r\n".to_owned(), "VALIDATION_ERROR"),
            (part("namespace", "default") + "--x--\r\n", "VALIDATION_ERROR"),
            (format!("{file}{file}--x--\r\n"), "VALIDATION_ERROR"),
            (file.clone(), "VALIDATION_ERROR"),
            (part("namespace", "a b") + &file + "--x--\r\n", "NAMESPACE_INVALID"),
            (part("note", &"x".repeat(1_025)) + &file + "--x--\r\n", "VALIDATION_ERROR"),
            (part("note", "x").repeat(32) + &file + "--x--\r\n", "VALIDATION_ERROR"),
        ] {
            server.refuses("POST /hash", media, form.as_bytes(), 422, code).await;
        }
        let nameless = "Content-Type: multipart/form-data\r\n";
        server.refuses("POST /hash", nameless, file.as_bytes(), 422, "VALIDATION_ERROR").await;
    });
}

/// Sends a form whose file has so many MiB and bytes, made as it goes; gives the reply's body.
fn upload(listen: &str, mib: usize, more: usize) -> (String, Value) {
    let first = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    let last = "\r\n--x--\r\n";
    let length = first.len() + mib * MIB + more + last.len();
    let mut stream = std::net::TcpStream::connect(listen).unwrap();
    let head = format!(
        "POST /hash HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n\r\n{first}"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let piece = vec![b'x'; MIB];
    for _ in 0..mib {
        stream.write_all(&piece).unwrap();
    }
    stream.write_all(&piece[..more]).unwrap();
    stream.write_all(last.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head[9..12].to_owned(), serde_json::from_str(body).unwrap())
}

#[test]
fn a_file_of_500_mib_is_hashed_in_little_memory_and_one_byte_more_is_refused() {
    let place = Workplace::new("[api]\nlisten = \"127.0.0.1:0\"\n");
    let agent = place.home.start_ready();
    let listen = place.status()["api"]["listen"].as_str().unwrap().to_owned();
    let (status, told) = upload(&listen, 500, 0);
    assert_eq!((status.as_str(), &told["data"]["file_size_bytes"]), ("200", &json!(500 * MIB)));
    let mut digester = stampd::model::digest::Digester::default();
    let piece = vec![b'x'; MIB];
    (0..500).for_each(|_| digester.update(&piece));
    assert_eq!(told["file_hash"], digester.finish().to_string());
    let (status, told) = upload(&listen, 500, 1);
    assert_eq!((status.as_str(), &told["code"]), ("413", &json!("CONTENT_TOO_LARGE")));
    let peak_kib = agent.memory_kib("VmHWM");
    assert!(peak_kib < PEAK_KIB_MAX, "{peak_kib} KiB at the peak");
}
