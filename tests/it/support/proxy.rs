//! A TCP road that can be closed, blocked, cut and slowed while a test looks on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// They lead through.
    Open,
    /// They lead through, each piece this much later.
    Slow(Duration),
    /// They are closed at once, and so are those that were open.
    Cut,
    /// They are accepted and nothing moves, also on those that were open: a half-open road.
    BlackHole,
}

/// A proxy in front of a server. Dropping it closes everything.
pub struct Proxy {
    address: SocketAddr,
    road: watch::Sender<Road>,
    accepted: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Proxy {
    /// Leads to `server`, as `road` says.
    pub async fn to(server: SocketAddr, road: Road) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (road, seen) = watch::channel(road);
        let (accepted, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let serving = serve(listener, server, seen, Arc::clone(&accepted), stop.clone());
        #[expect(clippy::disallowed_methods, reason = "ends with the proxy, in a test")]
        tokio::spawn(serving);
        Self { address, road, accepted, stop }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the road, also for connections that are open.
    pub fn set(&self, road: Road) {
        self.road.send_replace(road);
    }

    /// How many connections were made to it.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(
    listener: TcpListener,
    server: SocketAddr,
    road: watch::Receiver<Road>,
    accepted: Arc<AtomicU64>,
    stop: CancellationToken,
) {
    loop {
        let client = tokio::select! {
            () = stop.cancelled() => return,
            client = listener.accept() => client,
        };
        let Ok((client, _)) = client else { continue };
        accepted.fetch_add(1, Ordering::SeqCst);
        let (road, stop) = (road.clone(), stop.clone());
        #[expect(clippy::disallowed_methods, reason = "ends with the proxy, in a test")]
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = carry(client, server, road) => {}
            }
        });
    }
}

async fn carry(client: TcpStream, server: SocketAddr, mut road: watch::Receiver<Road>) {
    if passable(&mut road).await.is_none() {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, road.clone()) => {}
        () = pump(from_server, to_client, road.clone()) => {}
        () = cut(road) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut road: watch::Receiver<Road>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        let Some(delay) = passable(&mut road).await else { return };
        tokio::time::sleep(delay).await;
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Waits while nothing moves; none when the road is cut.
async fn passable(road: &mut watch::Receiver<Road>) -> Option<Duration> {
    let road = *road.wait_for(|road| *road != Road::BlackHole).await.ok()?;
    match road {
        Road::Open | Road::BlackHole => Some(Duration::ZERO),
        Road::Slow(delay) => Some(delay),
        Road::Cut => None,
    }
}

async fn cut(mut road: watch::Receiver<Road>) {
    let _ = road.wait_for(|road| *road == Road::Cut).await;
}
