//! Servers that do only what every server of that request must: bare axum, without a gate, a log or a
//! layout of replies.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::runtime::Runtime;

/// A peer that serves until it is dropped.
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    _runtime: Runtime,
}

impl Peer {
    /// Sends back what is posted to `/`.
    pub fn echo() -> Self {
        Self::serve(Router::new().route("/", post(async |body: Bytes| body)))
    }

    /// Appends what is posted to `/` to a file and has it on disk before it replies, each request by
    /// itself.
    pub fn fsync(dir: &Path) -> Self {
        let file = File::create(dir.join("fsync.log")).expect("the directory takes a file");
        let file = Arc::new(Mutex::new(file));
        let append = async move |body: Bytes| {
            let file = Arc::clone(&file);
            let write = move || {
                let mut file = file.lock().expect("no writer panicked");
                file.write_all(&body).and_then(|()| file.sync_data()).expect("the disk takes it");
                body
            };
            tokio::task::spawn_blocking(write).await.expect("the write does not panic")
        };
        Self::serve(Router::new().route("/", post(append)))
    }

    fn serve(router: Router) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime starts");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        runtime.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("the listener stays");
                stream.set_nodelay(true).expect("the socket takes an option");
                let service = TowerToHyperService::new(router.clone());
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(connection);
            }
        });
        Self { address, _runtime: runtime }
    }
}
