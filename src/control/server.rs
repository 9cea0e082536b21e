//! The agent's end of the socket.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Asked, Call, ControlError, REQUEST_BYTES_MAX, Refusal, Reply, check_length, socket_path,
};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// How long a client may take to say what it wants, and to take the answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a refusal is waited for when nobody waits for the outcome.
const REFUSAL_PATIENCE: Duration = Duration::from_millis(250);
/// How long replies on their way may take once the agent stops.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// How long accepting rests after the kernel refused (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A bound socket. Dropping it removes the socket from the file system.
#[derive(Debug)]
pub struct Listener {
    inner: UnixListener,
    path: PathBuf,
    /// Inode of our socket: what another agent put there later is not ours to remove.
    ino: u64,
}

impl Listener {
    /// Binds the socket below `runtime_dir`, which is made when it is not there. A socket that a
    /// killed agent left is replaced; one that answers is not.
    pub fn bind(runtime_dir: &Path) -> Result<Self, ControlError> {
        let path = socket_path(runtime_dir);
        check_length(&path)?;
        make_private(runtime_dir)?;
        clear_stale(&path)?;
        let io = |source| ControlError::Io { path: path.clone(), source };
        let inner = UnixListener::bind(&path).map_err(io)?;
        // Between bind and here only the directory and the peer check keep others out; they do.
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(io)?;
        let ino = fs::symlink_metadata(&path).map_err(io)?.ino();
        Ok(Self { inner, path, ino })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.ino);
        if ours {
            // A socket that stays behind is found stale by the next agent.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn make_private(dir: &Path) -> Result<(), ControlError> {
    let io = |source| ControlError::Io { path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    let meta = fs::metadata(dir).map_err(io)?;
    if meta.uid() != geteuid().as_raw() || meta.mode() & 0o022 != 0 {
        return Err(ControlError::Unsafe(dir.to_owned()));
    }
    Ok(())
}

/// Removes a socket that nobody listens to.
fn clear_stale(path: &Path) -> Result<(), ControlError> {
    let io = |source| ControlError::Io { path: path.to_owned(), source };
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    if !meta.file_type().is_socket() {
        return Err(ControlError::NotASocket(path.to_owned()));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ControlError::InUse(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(io)
        }
        Err(error) => Err(io(error)),
    }
}

/// Answers clients until `stop`. Each request goes to `calls`; when that is full the client is told
/// to try again, so that a stuck agent does not collect requests.
pub async fn serve(
    listener: Listener,
    calls: mpsc::Sender<Call>,
    stop: CancellationToken,
) -> Result<(), ControlError> {
    let mut clients = JoinSet::new();
    loop {
        // Every arm is cancel-safe: accept and join_next lose nothing.
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = clients.join_next() => {}
            accepted = listener.inner.accept(), if clients.len() < CONNECTIONS_MAX => {
                match accepted {
                    Ok((stream, _)) => { clients.spawn(attend(stream, calls.clone())); }
                    Err(error) => rest_after(&error).await,
                }
            }
        }
    }
    // Replies on their way still arrive, since the agent drops what it will not answer.
    drop(calls);
    let _ = tokio::time::timeout(STOP_PATIENCE, clients.join_all()).await;
    Ok(())
}

async fn rest_after(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a control connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// One client, one request, one reply. What goes wrong with a client is its own loss.
async fn attend(stream: UnixStream, calls: mpsc::Sender<Call>) {
    if !is_allowed(&stream) {
        tracing::warn!("refused a control connection from another user");
        return;
    }
    let mut stream = BufReader::new(stream);
    let reply = match read_request(&mut stream).await {
        Ok(asked) => ask(asked, &mut stream, calls).await,
        Err(reason) => Some(Reply::refused(Refusal::Wrong, reason)),
    };
    let Some(reply) = reply else { return };
    let mut line = serde_json::to_vec(&reply).expect("replies hold strings and integers only");
    line.push(b'\n');
    // A client that left does not miss the answer.
    let _ = tokio::time::timeout(CLIENT_PATIENCE, stream.write_all(&line)).await;
}

fn is_allowed(stream: &UnixStream) -> bool {
    let own = geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn read_request(stream: &mut BufReader<UnixStream>) -> Result<Asked, String> {
    let mut line = Vec::new();
    let mut bounded = stream.take(REQUEST_BYTES_MAX);
    tokio::time::timeout(CLIENT_PATIENCE, bounded.read_until(b'\n', &mut line))
        .await
        .map_err(|_| "no request came in time".to_owned())?
        .map_err(|error| format!("the request could not be read: {error}"))?;
    if line.last() != Some(&b'\n') {
        return Err(format!("a request is one line of at most {REQUEST_BYTES_MAX} bytes"));
    }
    serde_json::from_slice(&line)
        .map_err(|error| format!("not a request this agent ({}) knows: {error}", crate::VERSION))
}

/// Passes the request on and waits for the reply, or for the client to leave.
async fn ask(
    asked: Asked,
    stream: &mut BufReader<UnixStream>,
    calls: mpsc::Sender<Call>,
) -> Option<Reply> {
    let (sender, receiver) = oneshot::channel();
    if let Err(error) = calls.try_send((asked.request, sender)) {
        let reason = match error {
            mpsc::error::TrySendError::Full(_) => "the agent is busy: try again",
            mpsc::error::TrySendError::Closed(_) => "the agent is stopping",
        };
        return Some(Reply::refused(Refusal::Unavailable, reason));
    }
    drop(calls);
    if !asked.wait {
        // Refusals come at once; whatever takes longer is under way.
        let reply = tokio::time::timeout(REFUSAL_PATIENCE, receiver).await;
        return Some(reply.map_or(Reply::Done, or_stopping));
    }
    tokio::select! {
        reply = receiver => Some(or_stopping(reply)),
        // The client has nothing more to say: whatever ends this read ends the connection. The
        // receiver is dropped, so the agent sees that nobody waits.
        _ = stream.read_u8() => None,
    }
}

/// The reply; an agent that drops a request without one is on its way out.
fn or_stopping(reply: Result<Reply, oneshot::error::RecvError>) -> Reply {
    reply.unwrap_or_else(|_| Reply::refused(Refusal::Unavailable, "the agent is stopping"))
}
