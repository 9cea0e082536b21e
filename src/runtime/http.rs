//! HTTP/1.1 on a listener, for routes that may trust what reaches them.
//!
//! Holds the loop over connections and what every request must pass before a route sees it: its head
//! came in time, its Host is one of ours, no foreign page sent it, its peer keeps to the rate, its body
//! keeps to a size and a pace. Promises: a refused request reached no route; a client that stalls loses
//! its connection, and never holds a seat for ever; a stop lets running requests end. Leaves to its
//! caller: who may do what, and how a refusal is worded.

mod bearer;
mod body;
mod gate;
mod linger;
mod rate;
mod refusal;
mod stream;
mod timer;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::bearer::{Bearer, bearer_of, same};
use self::body::Watched;
pub use self::body::{BodyError, Pace};
use self::gate::Gate;
use self::linger::Unread;
pub use self::rate::Rate;
pub use self::refusal::{Refusal, problem, refuse};
use self::stream::Unstalled;
use self::timer::HeadTimer;

/// How long to wait after the system refused a connection for want of descriptors or memory: asking
/// again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a listener is served.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` to listen on.
    pub listen: String,
    /// The Host allow-list: `name` for any port, `name:port` for one; compared exactly, but for case.
    /// Behind an empty list everything is refused.
    pub hosts: Vec<String>,
    /// Origins of pages beside our own that may call, such as `https://board.example`.
    pub origins: Vec<String>,
    /// How long a request's head may take, from the connection or the reply before it.
    pub header_timeout: Duration,
    /// How slow a body may come.
    pub pace: Pace,
    /// Bytes of a body, above which no route may read on.
    pub body_bytes_max: u64,
    /// How long a client may leave a reply unread.
    pub write_timeout: Duration,
    /// Connections served at once; more wait in the listener's backlog.
    pub connections_max: usize,
    /// Requests per peer, if limited.
    pub rate: Option<Rate>,
    /// How long a stop waits for running requests.
    pub drain: Duration,
    /// Words a refusal.
    pub refuse: fn(&Refusal, &HeaderMap) -> Response,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8057".to_owned(),
            hosts: ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec(),
            origins: Vec::new(),
            header_timeout: Duration::from_secs(5),
            pace: Pace::default(),
            body_bytes_max: 512 * 1024 * 1024,
            write_timeout: Duration::from_secs(30),
            connections_max: 1_024,
            rate: None,
            drain: Duration::from_secs(10),
            refuse,
        }
    }
}

/// Who sends the requests of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peer(SocketAddr);

/// What answers the requests that were let in.
pub trait Answers: Send + Sync + 'static {
    /// The reply to one; also what goes wrong is one.
    fn answer(&self, request: Request) -> impl Future<Output = Response> + Send;
}

impl Answers for Router {
    async fn answer(&self, request: Request) -> Response {
        let Ok(response) = TowerToHyperService::new(self.clone()).call(request).await;
        response
    }
}

/// Serves `routes` on `listener` until `stop`, then lets running requests end.
///
/// # Errors
/// When the listener itself fails. What a client does wrong ends its connection and nothing else.
pub async fn serve(
    listener: TcpListener,
    routes: impl Answers,
    config: Config,
    stop: CancellationToken,
) -> io::Result<()> {
    let seats = Arc::new(Semaphore::new(config.connections_max));
    let service = Arc::new(Service { routes, gate: Gate::new(&config), config });
    let mut connections = JoinSet::new();
    loop {
        // All arms are cancel-safe: a seat that was taken and not used is given back by its drop.
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => note(ended),
            accepted = accept(&listener, &seats) => match accepted? {
                Some((stream, peer, seat)) => {
                    // A token of its own: all connections look at it each time one of them moves.
                    let stop = stop.child_token();
                    let served = Arc::clone(&service).converse(stream, Peer(peer), seat, stop);
                    connections.spawn(served);
                }
                None => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    // From here the system refuses new connections.
    drop(listener);
    drain(connections, service.config.drain).await;
    Ok(())
}

/// Waits for a seat and then for a connection; `None` when the system has no room for one just now.
async fn accept(
    listener: &TcpListener,
    seats: &Arc<Semaphore>,
) -> io::Result<Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)>> {
    let seat = Arc::clone(seats).acquire_owned().await.expect("the seats are never closed");
    match listener.accept().await {
        Ok((stream, peer)) => Ok(Some((stream, peer, seat))),
        Err(error) if is_fatal(&error) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "failed to accept a connection: raise the limit of open files");
            Ok(None)
        }
    }
}

/// Whether the listener is gone, as against a connection that ended before we took it, or a shortage.
fn is_fatal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected)
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended.map_err(JoinError::try_into_panic)
        && error.is_ok()
    {
        tracing::error!("a request panicked, which is a bug: its connection was closed");
    }
}

/// Waits for the connections to end. What outstays the wait is cut off.
async fn drain(mut connections: JoinSet<()>, patience: Duration) {
    let started = Instant::now();
    let all = async {
        while let Some(ended) = connections.join_next().await {
            note(ended);
        }
    };
    if tokio::time::timeout(patience, all).await.is_err() {
        let left = connections.len();
        tracing::warn!(left, waited_s = patience.as_secs(), "cut requests off that did not end");
    } else {
        tracing::debug!(took_ms = started.elapsed().as_millis() as u64, "all requests ended");
    }
}

/// What the connections are served by.
struct Service<A> {
    routes: A,
    gate: Gate,
    config: Config,
}

impl<A: Answers> Service<A> {
    /// Serves one connection to its end, or to the end of the running request after `stop`.
    async fn converse(
        self: Arc<Self>,
        stream: TcpStream,
        peer: Peer,
        _seat: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) {
        // Replies are written whole; waiting to join them with more only adds latency.
        let _ = stream.set_nodelay(true);
        let stream = Unstalled::new(stream, self.config.write_timeout);
        let header_timeout = self.config.header_timeout;
        let unread = Unread::default();
        let left = unread.clone();
        let answer = service_fn(move |request| {
            Box::pin(Arc::clone(&self).answer(request, peer, left.clone()))
        });
        let mut connection = http1::Builder::new()
            .timer(HeadTimer::default())
            .header_read_timeout(header_timeout)
            .serve_connection(TokioIo::new(stream), answer);
        let ended = tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
            () = stop.cancelled() => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                poll_fn(|context| connection.poll_without_shutdown(context)).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %peer.0, %error, "a connection broke");
        }
        linger::close(connection.into_parts().io.into_inner(), &unread).await;
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
        unread: Unread,
    ) -> Result<Response, Infallible> {
        unread.forget();
        let now = Instant::now();
        if let Err(refusal) = self.gate.admit(&request, peer, now) {
            tracing::debug!(peer = %peer.0, %refusal, "refused a request");
            unread.note(request.body());
            return Ok((self.config.refuse)(&refusal, request.headers()));
        }
        let watched = |body| Body::new(Watched::new(body, unread, &self.config, now));
        Ok(self.routes.answer(request.map(watched)).await)
    }
}
