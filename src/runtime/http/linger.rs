//! Closing a connection whose client is still sending.
//!
//! A socket that is closed with bytes unread resets the connection, and a reset takes away the reply
//! that was already on its way: the client would see a broken pipe instead of "too large". So what
//! still comes is read and thrown away for a while, as other servers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::HttpBody as _;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::stream::Unstalled;

/// How long a client may go on sending after its reply.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a connection's last body was left unread. Set by whoever drops the body, read by the
/// connection's end.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Arc<AtomicBool>);

impl Unread {
    /// A new request begins: all that came before it was read.
    pub(super) fn forget(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Takes note of a body that is about to be dropped.
    pub(super) fn note(&self, body: &Incoming) {
        if !body.is_end_stream() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Closes the connection, after the client has had its chance to read the reply.
pub(super) async fn close(mut stream: Unstalled, unread: &Unread) {
    // The client may be gone already; there is nothing else to be done for it.
    let _ = stream.shutdown().await;
    if !unread.0.load(Ordering::Relaxed) {
        return;
    }
    let throw_away = async {
        let mut scrap = vec![0; 64 * 1024];
        while matches!(stream.read(&mut scrap).await, Ok(1..)) {}
    };
    let _ = tokio::time::timeout(PATIENCE, throw_away).await;
}
