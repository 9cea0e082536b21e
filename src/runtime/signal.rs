//! Asking a process to stop: SIGTERM and SIGINT as a sequence of requests.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// The requests to stop, in the order in which they come.
#[derive(Debug)]
pub struct Signals(Source);

#[derive(Debug)]
enum Source {
    System { terminate: Signal, interrupt: Signal },
    Scripted(mpsc::Receiver<&'static str>),
}

impl Signals {
    /// Takes SIGTERM and SIGINT from their default action. To be called before anything is started
    /// that a sudden end would hurt.
    pub fn install() -> io::Result<Self> {
        Ok(Self(Source::System {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        }))
    }

    /// Requests that a test sends.
    pub const fn scripted(requests: mpsc::Receiver<&'static str>) -> Self {
        Self(Source::Scripted(requests))
    }

    /// Waits for the next request and returns its name. Cancel-safe: both sources are.
    pub async fn recv(&mut self) -> &'static str {
        match &mut self.0 {
            Source::System { terminate, interrupt } => tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            },
            Source::Scripted(requests) => match requests.recv().await {
                Some(name) => name,
                // The script is over: no further request ever comes.
                None => std::future::pending().await,
            },
        }
    }
}
