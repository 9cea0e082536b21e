//! The HTTP listener on real sockets: clients that stall, lie about the host, or outstay a stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::routing::{get, post};
use stampd::runtime::http::{BodyError, Config, Pace, Rate, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Short, for what a test waits for; what must not happen is given [`Config`]'s own, long times.
const SHORT: Duration = Duration::from_millis(50);

/// A listener with a few routes, in this process.
struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<std::io::Result<()>>,
    /// Told when a request is in `/slow`, and lets it end.
    entered: Arc<Notify>,
    leave: Arc<Notify>,
}

impl Server {
    async fn start(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let router = router(Arc::clone(&entered), Arc::clone(&leave));
        #[expect(clippy::disallowed_methods, reason = "ends with the token, in a test")]
        let ended = tokio::spawn(serve(listener, router, config, stop.clone()));
        Self { address, stop, ended, entered, leave }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends one request on a connection of its own and returns the whole reply.
    async fn ask(&self, request: &str) -> String {
        let mut client = self.connect().await;
        client.send(request).await;
        client.rest().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn router(entered: Arc<Notify>, leave: Arc<Notify>) -> Router {
    let slow = move || async move {
        entered.notify_one();
        leave.notified().await;
        "slow but sure"
    };
    Router::new()
        .route("/", get(async || "hello"))
        .route("/slow", get(slow))
        .route("/large", get(async || vec![b'x'; 64 * 1024 * 1024]))
        .route("/length", post(length))
}

async fn length(body: Body) -> Result<String, (StatusCode, String)> {
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => Ok(Bytes::len(&bytes).to_string()),
        Err(error) => Err(match BodyError::of(&error) {
            Some(BodyError::TooLong(_)) => (StatusCode::PAYLOAD_TOO_LARGE, "too long".to_owned()),
            Some(BodyError::TooSlow) => (StatusCode::REQUEST_TIMEOUT, "too slow".to_owned()),
            Some(BodyError::Broken(_)) | None => (StatusCode::BAD_REQUEST, error.to_string()),
        }),
    }
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until the server closes.
    async fn rest(&mut self) -> String {
        let mut reply = Vec::new();
        match self.0.read_to_end(&mut reply).await {
            // A server that closes while we still send may also reset the connection.
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        String::from_utf8(reply).unwrap()
    }

    /// Reads until `end`.
    async fn until(&mut self, end: &str) -> String {
        let mut reply = String::new();
        while !reply.ends_with(end) {
            let byte = self.0.read_u8().await.unwrap_or_else(|error| panic!("{error}: {reply}"));
            reply.push(char::from(byte));
        }
        reply
    }
}

fn status(reply: &str) -> &str {
    reply.split(' ').nth(1).unwrap_or("none")
}

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_request_for_a_foreign_host_reaches_no_route_and_is_told_so() {
    let server = Server::start(Config::default()).await;
    assert_eq!(status(&server.ask(GET).await), "200");
    for host in
        ["Host: evil.example", "Host: 127.0.0.1.evil.example", "X-Forwarded-Host: localhost"]
    {
        let request = format!("GET / HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n");
        let reply = server.ask(&request).await;
        assert_eq!(status(&reply), "403", "{host}: {reply}");
        assert!(reply.contains("content-type: application/problem+json"), "{reply}");
        assert!(!reply.contains("hello"), "{reply}");
    }
    let unknown = "GET /nowhere HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&server.ask(unknown).await), "403", "also where there is no route");
}

#[tokio::test]
async fn a_form_of_a_foreign_page_reaches_no_route() {
    let server = Server::start(Config::default()).await;
    let post = |header: &str| {
        format!(
            "POST /length HTTP/1.1\r\nHost: localhost\r\n{header}Content-Length: 2\r\n\
             Connection: close\r\n\r\nab"
        )
    };
    assert_eq!(status(&server.ask(&post("")).await), "200");
    assert_eq!(status(&server.ask(&post("Origin: http://localhost\r\n")).await), "200");
    for header in ["Origin: https://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_eq!(status(&server.ask(&post(header)).await), "403", "{header}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_costs_the_connection() {
    let server = Server::start(Config { header_timeout: SHORT, ..Config::default() }).await;
    for begun in ["", "GET / HTTP/1.1\r\nHost: loc"] {
        let reply = server.ask(begun).await;
        assert!(matches!(status(&reply), "none" | "408"), "{reply}");
    }
    // One that trickles is no better than one that stops.
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\n").await;
    let mut trickled = 0;
    while client.0.write_all(b"X-More: 1\r\n").await.is_ok() {
        trickled += 1;
        tokio::time::timeout(SHORT / 5, client.0.readable()).await.ok();
    }
    assert!(trickled > 0);
}

#[tokio::test]
async fn a_body_that_trickles_or_stops_is_given_up() {
    let pace = Pace { grace: SHORT, bytes_per_s: 1_000_000 };
    let server = Server::start(Config { pace, ..Config::default() }).await;
    let head = "POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    let mut client = server.connect().await;
    client.send(head).await;
    client.send("only this").await;
    assert_eq!(status(&client.rest().await), "408");
}

#[tokio::test]
async fn a_body_without_end_is_cut_at_the_limit() {
    let server = Server::start(Config { body_bytes_max: 100_000, ..Config::default() }).await;
    let mut client = server.connect().await;
    client
        .send("POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("{:x}\r\n{}\r\n", 10_000, "x".repeat(10_000));
    // Sends far more than is taken, and only then reads: the reply must still be there.
    for _ in 0..1_000 {
        client.send(&chunk).await;
    }
    assert_eq!(client.until("too long").await.get(..12), Some("HTTP/1.1 413"));
}

#[tokio::test]
async fn the_reply_reaches_a_client_that_is_still_sending_what_nobody_reads() {
    let server = Server::start(Config::default()).await;
    let mut client = server.connect().await;
    let length = 10_000_000;
    let head = "POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length";
    client.send(&format!("{head}: {length}\r\n\r\n")).await;
    client.send(&"x".repeat(length)).await;
    assert_eq!(status(&client.rest().await), "403");
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_before_it_is_sent() {
    let server = Server::start(Config { body_bytes_max: 10, ..Config::default() }).await;
    let head = "POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\n";
    assert_eq!(status(&server.ask(head).await), "413");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_reply_loses_its_connection() {
    let server =
        Server::start(Config { connections_max: 1, write_timeout: SHORT, ..Config::default() })
            .await;
    let mut client = server.connect().await;
    client.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    // The only seat is free again without the first client having done anything.
    assert_eq!(status(&server.ask(GET).await), "200");
}

#[tokio::test]
async fn beyond_the_cap_a_connection_waits_until_another_ends() {
    let server = Server::start(Config { connections_max: 2, ..Config::default() }).await;
    let mut seated = [server.connect().await, server.connect().await];
    for client in &mut seated {
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        client.until("hello").await;
    }
    let mut waiting = server.connect().await;
    waiting.send(GET).await;
    let early = tokio::time::timeout(SHORT, waiting.0.readable()).await;
    assert!(early.is_err(), "it was served beyond the cap");
    let [first, _second] = seated;
    drop(first);
    assert_eq!(status(&waiting.rest().await), "200");
}

#[tokio::test]
async fn a_peer_that_asks_too_often_is_told_when_to_come_back() {
    let rate = Some(Rate { per_second: 1, burst: 2 });
    let server = Server::start(Config { rate, ..Config::default() }).await;
    assert_eq!(status(&server.ask(GET).await), "200");
    assert_eq!(status(&server.ask(GET).await), "200");
    let reply = server.ask(GET).await;
    assert_eq!(status(&reply), "429");
    assert!(reply.contains("retry-after: 1\r\n"), "{reply}");
}

#[tokio::test]
async fn a_stop_lets_the_running_request_end_and_takes_no_new_one() {
    let mut server = Server::start(Config::default()).await;
    let mut idle = server.connect().await;
    idle.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    idle.until("hello").await;
    let mut running = server.connect().await;
    running.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    server.entered.notified().await;

    server.stop.cancel();
    assert_eq!(idle.rest().await, "", "a connection without a request is closed");
    let refused = TcpStream::connect(server.address).await;
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(!server.ended.is_finished());

    server.leave.notify_one();
    let reply = running.rest().await;
    assert!(reply.ends_with("slow but sure"), "{reply}");
    assert!((&mut server.ended).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_stop_cuts_off_what_outstays_it() {
    let mut server = Server::start(Config { drain: SHORT, ..Config::default() }).await;
    let mut running = server.connect().await;
    running.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    server.entered.notified().await;
    server.stop.cancel();
    assert_eq!(running.rest().await, "");
    assert!((&mut server.ended).await.unwrap().is_ok());
}
