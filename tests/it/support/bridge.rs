//! The ingest of a bridge, in this process, over a record of the test's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stampd::api::streams::{Streams, router};
use stampd::model::namespace::Namespace;
use stampd::runtime::clock::Clock;
use stampd::runtime::http::{self, serve};
use stampd::runtime::metrics::Metrics;
use stampd::runtime::secret::Secret;
use stampd::sink::bridge::{Bridge, Config};
use stampd::store::address::Address as Road;
use stampd::store::ingest::Ingest;
use stampd::store::tokens;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::postgres::Address;
use super::record::{Record, config, session};

/// A bridge that takes streams.
pub struct Server {
    pub record: Record,
    pub address: SocketAddr,
    pub metrics: Metrics,
    login: Address,
    stop: CancellationToken,
    ended: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    /// Starts one over a new record.
    pub async fn start() -> Self {
        Self::over(Record::create().await).await
    }

    /// Starts one over a record.
    pub async fn over(mut record: Record) -> Self {
        let login = record.database.login("stampd_server");
        let mut server = Self {
            record,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            metrics: Metrics::new(),
            login,
            stop: CancellationToken::new(),
            ended: None,
        };
        server.up().await;
        server
    }

    /// Stops it at once, whatever it is doing, and starts another at the same address.
    pub async fn restart(&mut self) {
        let ended = self.ended.take().expect("it was started");
        ended.abort();
        let _ = ended.await;
        self.up().await;
    }

    async fn up(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("the address is free");
        self.address = listener.local_addr().expect("it listens");
        self.metrics = Metrics::new();
        let road = Road::parse(&config(&self.login)).expect("the URL is good");
        let ingest = Ingest::new(road, 8, Duration::from_secs(30), Some(Arc::default()));
        let router = router(Streams::new(ingest, Clock::system(), &self.metrics));
        let served = serve(listener, router, http::Config::default(), self.stop.clone());
        #[expect(clippy::disallowed_methods, reason = "ends with the server, in a test")]
        let ended = tokio::spawn(served);
        self.ended = Some(ended);
    }

    /// Issues a token.
    pub async fn token(&self, name: &str, namespaces: &[&str]) -> String {
        let name = name.parse().expect("it is a name");
        let scope: Vec<Namespace> =
            namespaces.iter().map(|word| word.parse().expect("a namespace")).collect();
        let issued = tokens::issue(&mut session(&self.login).await, &name, &scope).await;
        issued.expect("it is issued").reveal().to_owned()
    }

    /// Revokes a token.
    pub async fn revoke(&self, name: &str) {
        let name = name.parse().expect("it is a name");
        let revoked = tokens::revoke(&mut session(&self.login).await, &name).await;
        revoked.expect("it is revoked");
    }

    /// A sink with this token.
    pub fn sink(&self, token: &str) -> Bridge {
        sink_at(&format!("http://{}", self.address), token)
    }

    /// Its URL for a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A sink at a URL.
pub fn sink_at(url: &str, token: &str) -> Bridge {
    let token = Some(Secret::env("TOKEN", token));
    Bridge::new(&Config { url: url.to_owned(), token, ..Config::default() })
        .expect("the config is good")
}
