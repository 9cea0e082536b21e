//! Asking a running agent.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{Asked, ControlError, REPLY_BYTES_MAX, Reply, Request, check_length};

/// How long an agent may take to accept what nobody waits for.
const NUDGE_PATIENCE: Duration = Duration::from_secs(10);

/// Sends one request and waits for its reply, without end when `timeout` is `None`.
///
/// # Errors
/// [`ControlError::NotRunning`] when nobody listens at `socket`.
pub async fn call(
    socket: &Path,
    request: &Request,
    timeout: Option<Duration>,
) -> Result<Reply, ControlError> {
    within(timeout, socket, Asked { request: request.clone(), wait: true }).await
}

/// Sends one request and waits only until the agent has taken it, or refused it.
pub async fn nudge(socket: &Path, request: &Request) -> Result<Reply, ControlError> {
    within(Some(NUDGE_PATIENCE), socket, Asked { request: request.clone(), wait: false }).await
}

async fn within(
    timeout: Option<Duration>,
    socket: &Path,
    asked: Asked,
) -> Result<Reply, ControlError> {
    let Some(timeout) = timeout else { return exchange(socket, &asked).await };
    tokio::time::timeout(timeout, exchange(socket, &asked))
        .await
        .unwrap_or_else(|_| Err(ControlError::TimedOut(socket.to_owned())))
}

async fn exchange(socket: &Path, asked: &Asked) -> Result<Reply, ControlError> {
    let mut stream = connect(socket).await?;
    let mut line = serde_json::to_vec(asked).expect("requests hold strings and integers only");
    line.push(b'\n');
    // An agent that will not listen to the end may still have said why: what counts is the reply.
    let _ = stream.write_all(&line).await;
    let mut reply = Vec::new();
    let read = BufReader::new(stream).take(REPLY_BYTES_MAX).read_until(b'\n', &mut reply).await;
    if read.is_err() || reply.is_empty() {
        return Err(ControlError::Garbled(socket.to_owned(), None));
    }
    serde_json::from_slice(&reply)
        .map_err(|source| ControlError::Garbled(socket.to_owned(), Some(source)))
}

async fn connect(socket: &Path) -> Result<UnixStream, ControlError> {
    check_length(socket)?;
    let stream = UnixStream::connect(socket).await.map_err(|source| match source.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            ControlError::NotRunning(socket.to_owned())
        }
        ErrorKind::PermissionDenied => ControlError::Foreign(socket.to_owned()),
        _ => ControlError::Io { path: socket.to_owned(), source },
    })?;
    let peer = stream
        .peer_cred()
        .map_err(|source| ControlError::Io { path: socket.to_owned(), source })?;
    let own = geteuid().as_raw();
    // Root may look at anybody's agent; anyone else hears only their own.
    if own != 0 && peer.uid() != own {
        return Err(ControlError::Foreign(socket.to_owned()));
    }
    Ok(stream)
}
