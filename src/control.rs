//! The control socket: how the command line speaks to the running agent.
//!
//! Holds the requests, the replies and both ends of the socket. One JSON line each way per
//! connection, bounded in size and time. Only the agent's own user and root are answered, and a
//! client believes only an agent of its own user. What a request means is the agent's work: it gets
//! each one over a bounded channel, with a way to reply.

mod client;
mod server;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use self::client::{call, nudge};
pub use self::server::{Listener, serve};
use crate::model::repo_config::RepoConfig;
use crate::model::status::Status;
use crate::model::stream::StreamId;

/// The longest request.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// The longest reply: a status of some ten thousand repos.
const REPLY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What can be asked of a running agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// How is everything? Answered with [`Reply::Status`].
    Status,
    /// Compare the disk with the index, and reply once every difference is durable.
    Scan {
        /// Only this repo.
        repo: Option<String>,
    },
    /// Reply once every enabled sink has confirmed every stamp that is durable now.
    Sync {
        /// How long to try, in milliseconds; without end when absent.
        timeout_ms: Option<u64>,
    },
    /// Offer a dead letter to its sink again.
    DlqRetry {
        /// The sink.
        sink: String,
        /// The stamp's stream.
        stream: StreamId,
        /// Its seq.
        seq: u64,
    },
    /// Forget a sink that will not come back, so that it no longer keeps bodies from being purged.
    Forget {
        /// The sink.
        sink: String,
    },
    /// Read the trust pins and the repos' own files anew.
    Reload,
    /// Watch this repo too. Answered once it is being compared with the disk.
    Add {
        /// The repo, as it stands in the config now.
        repo: RepoConfig,
    },
    /// Watch this repo no longer. Answered once what was found is durable; its stamps stay.
    Remove {
        /// Its name.
        repo: String,
    },
    /// Look at no repo until the pause ends. What is stamped already is still delivered.
    Pause {
        /// How long, in milliseconds; until [`Request::Resume`] when absent.
        for_ms: Option<u64>,
    },
    /// End the pause: everything is compared with the disk.
    Resume,
}

/// A request on its way, and whether the client waits for what comes of it.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    #[serde(flatten)]
    request: Request,
    #[serde(default = "by_default")]
    wait: bool,
}

const fn by_default() -> bool {
    true
}

/// The agent's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// What was asked is done, and durable.
    Done,
    /// It was tried and is not done; trying again later may help.
    Unfinished {
        /// Which part, and why.
        reason: String,
    },
    /// It cannot be done as asked.
    Refused {
        /// What kind of refusal.
        kind: Refusal,
        /// Why, and what to do.
        reason: String,
    },
}

/// What kind of refusal, for whoever decides what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// There is no repo, sink or stamp of that name.
    NotFound,
    /// The agent is busy or stopping: trying again later may help.
    Unavailable,
    /// The request makes no sense, or not now.
    Wrong,
}

impl Reply {
    /// A refusal.
    pub(crate) fn refused(kind: Refusal, reason: impl Into<String>) -> Self {
        Self::Refused { kind, reason: reason.into() }
    }
}

/// A request as it reaches the agent. Nobody waits any more when the sender is closed.
pub type Call = (Request, oneshot::Sender<Reply>);

/// Why the socket could not be served, or an agent not be asked. Each variant is another exit code
/// or another thing to do.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens there.
    #[error("reach an agent at {}: none is running; start one with `stampd run`", .0.display())]
    NotRunning(PathBuf),
    /// The socket, or who sits behind it, belongs to someone else.
    #[error("speak to the agent at {}: it belongs to another user; run this as the user that the agent runs as", .0.display())]
    Foreign(PathBuf),
    /// The agent did not answer in time.
    #[error("hear from the agent at {} in time; see `stampd status` and the agent's log", .0.display())]
    TimedOut(PathBuf),
    /// The agent closed the connection or said what is no reply.
    #[error("understand the agent at {}: it stopped, or is of another version", .0.display())]
    Garbled(PathBuf, #[source] Option<serde_json::Error>),
    /// Another agent listens there.
    #[error("listen at {}: another agent is running there; stop it, or set another [agent] runtime_dir", .0.display())]
    InUse(PathBuf),
    /// Others may write to the socket's directory, and so put their own socket in its place.
    #[error("trust the directory {}: others may write to it; make it private with `chmod 700`, or set another [agent] runtime_dir", .0.display())]
    Unsafe(PathBuf),
    /// Something is in the way that is no socket.
    #[error("listen at {}: a file that is no socket is in the way; remove it", .0.display())]
    NotASocket(PathBuf),
    /// The kernel takes no socket path this long.
    #[error("use the socket path {}: it is longer than the kernel takes; set a shorter [agent] runtime_dir", .0.display())]
    TooLong(PathBuf),
    /// Anything else.
    #[error("use the control socket {}", path.display())]
    Io {
        /// The socket or its directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The socket's path below the runtime directory.
pub fn socket_path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("stampd.sock")
}

/// Sees to it that a path fits a socket address before the kernel's vaguer error does.
fn check_length(path: &Path) -> Result<(), ControlError> {
    let fits = rustix::net::SocketAddrUnix::new(path).is_ok();
    if fits { Ok(()) } else { Err(ControlError::TooLong(path.to_owned())) }
}
