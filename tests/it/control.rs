//! The control socket: who may speak through it, and what it makes of bad clients.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stampd::control::{
    Call, ControlError, Listener, Refusal, Reply, Request, call, nudge, serve, socket_path,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const PATIENCE: Option<Duration> = Some(Duration::from_mins(1));

/// A served socket whose requests the test answers itself.
struct Agent {
    dir: TempDir,
    calls: mpsc::Receiver<Call>,
    stop: CancellationToken,
    served: JoinSet<Result<(), ControlError>>,
}

impl Agent {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = Listener::bind(dir.path()).unwrap();
        let (sender, calls) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let mut served = JoinSet::new();
        served.spawn(serve(listener, sender, stop.clone()));
        Self { dir, calls, stop, served }
    }

    fn socket(&self) -> PathBuf {
        socket_path(self.dir.path())
    }

    /// Asks, and answers with `reply`; returns what the agent was asked and what the client got.
    async fn exchange(&mut self, request: Request, reply: Reply) -> (Request, Reply) {
        let socket = self.socket();
        let answer = async {
            let (asked, sender) = self.calls.recv().await.unwrap();
            sender.send(reply).unwrap();
            asked
        };
        let (asked, got) = tokio::join!(answer, call(&socket, &request, PATIENCE));
        (asked, got.unwrap())
    }
}

/// Writes raw bytes and returns the line that comes back, empty when the agent hangs up.
fn raw(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    // An agent that has read enough may hang up in the middle of our write.
    let _ = stream.write_all(bytes);
    let mut line = String::new();
    let _ = BufReader::new(stream).read_line(&mut line);
    line
}

async fn raw_beside(socket: PathBuf, bytes: Vec<u8>) -> String {
    tokio::task::spawn_blocking(move || raw(&socket, &bytes)).await.unwrap()
}

#[tokio::test]
async fn a_request_reaches_the_agent_and_its_reply_the_client() {
    let mut agent = Agent::start();
    let scan = Request::Scan { repo: Some("app".to_owned()) };
    let (asked, got) = agent.exchange(scan.clone(), Reply::Done).await;
    assert_eq!((asked, got), (scan, Reply::Done));
    let unfinished = Reply::Unfinished { reason: "kafka: offline".to_owned() };
    let sync = Request::Sync { timeout_ms: Some(1) };
    assert_eq!(agent.exchange(sync, unfinished.clone()).await.1, unfinished);
}

#[tokio::test]
async fn who_does_not_wait_hears_of_a_refusal_and_not_of_the_outcome() {
    let mut agent = Agent::start();
    let (socket, scan) = (agent.socket(), Request::Scan { repo: None });
    assert_eq!(nudge(&socket, &scan).await.unwrap(), Reply::Done);
    let (asked, outcome) = agent.calls.recv().await.unwrap();
    assert_eq!(asked, scan);
    drop(outcome);
    let refused =
        Reply::Refused { kind: Refusal::NotFound, reason: "there is no such repo".to_owned() };
    let refuse = async {
        let (_, reply) = agent.calls.recv().await.unwrap();
        reply.send(refused.clone()).unwrap();
    };
    let ((), got) = tokio::join!(refuse, nudge(&socket, &scan));
    assert_eq!(got.unwrap(), refused);
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_goes_with_the_agent() {
    let mut agent = Agent::start();
    let socket = agent.socket();
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o7777, 0o600);
    agent.stop.cancel();
    agent.served.join_next().await.unwrap().unwrap().unwrap();
    assert!(!socket.exists());
    let error = call(&socket, &Request::Status, PATIENCE).await.unwrap_err();
    assert!(matches!(error, ControlError::NotRunning(_)), "{error}");
    assert!(error.to_string().contains("`stampd run`"), "{error}");
}

#[tokio::test]
async fn a_made_runtime_directory_is_private_and_one_open_to_others_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("a/run");
    drop(Listener::bind(&made).unwrap());
    assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7777, 0o700);
    fs::set_permissions(&made, Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Listener::bind(&made), Err(ControlError::Unsafe(_))));
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket_path(dir.path());
    // Dropped without being removed: what a killed agent leaves.
    drop(UnixListener::bind(&path).unwrap());
    let listener = Listener::bind(dir.path()).unwrap();
    assert!(matches!(Listener::bind(dir.path()), Err(ControlError::InUse(_))));
    drop(listener);
    fs::write(&path, "mine").unwrap();
    assert!(matches!(Listener::bind(dir.path()), Err(ControlError::NotASocket(_))));
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[tokio::test]
async fn a_socket_path_too_long_for_the_kernel_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("d".repeat(120));
    assert!(matches!(Listener::bind(&long), Err(ControlError::TooLong(_))));
    let error = call(&socket_path(&long), &Request::Status, PATIENCE).await.unwrap_err();
    assert!(matches!(error, ControlError::TooLong(_)), "{error}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_hurts_nobody() {
    let mut agent = Agent::start();
    let mut oversize = vec![b'x'; 70_000];
    oversize.push(b'\n');
    for (bytes, told) in [
        (b"{\"request\":\"dance\"}\n".to_vec(), "not a request this agent"),
        (b"\xff\n".to_vec(), "not a request this agent"),
        (oversize, "one line of at most 65536 bytes"),
    ] {
        let line = raw_beside(agent.socket(), bytes).await;
        assert!(line.is_empty() || line.contains(told), "{line}");
    }
    assert_eq!(agent.exchange(Request::Reload, Reply::Done).await.1, Reply::Done);
}

#[tokio::test]
async fn a_busy_agent_says_so_and_a_silent_one_is_not_waited_for() {
    let mut agent = Agent::start();
    let socket = agent.socket();
    let error = call(&socket, &Request::Status, Some(Duration::from_millis(50))).await.unwrap_err();
    assert!(matches!(error, ControlError::TimedOut(_)), "{error}");
    // The request of the client that gave up fills the queue of one.
    let refused = call(&socket, &Request::Status, PATIENCE).await.unwrap();
    assert_eq!(
        refused,
        Reply::Refused {
            kind: Refusal::Unavailable,
            reason: "the agent is busy: try again".to_owned()
        }
    );
    let (_, mut reply) = agent.calls.recv().await.unwrap();
    // The agent can tell that nobody waits for this one any more.
    reply.closed().await;
    assert_eq!(agent.exchange(Request::Reload, Reply::Done).await.1, Reply::Done);
}

#[tokio::test]
async fn a_reply_from_another_program_is_told_from_ours() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket_path(dir.path());
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 smtp\n").unwrap();
    });
    let error = call(&path, &Request::Status, PATIENCE).await.unwrap_err();
    assert!(matches!(error, ControlError::Garbled(_, Some(_))), "{error}");
}

/// Another user's process, once the file modes no longer keep it out: only the peer check does.
/// Taking another user id needs root; without it, the modes themselves are what another user meets,
/// and `the_socket_is_for_its_owner_and_goes_with_the_agent` holds them.
#[tokio::test]
async fn another_user_is_not_answered() {
    let mut agent = Agent::start();
    let socket = agent.socket();
    fs::set_permissions(agent.dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let script = r#"
        use IO::Socket::UNIX;
        $SIG{PIPE} = "IGNORE";
        my $agent = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connect: $!";
        print $agent qq({"request":"status"}\n);
        print scalar(<$agent>) // "";
    "#;
    let mut client = Command::new("perl");
    client.args(["-e", script]).arg(&socket);
    if is_root {
        client.uid(65_534).gid(65_534);
    }
    let ended = tokio::task::spawn_blocking(move || client.output().unwrap());
    if is_root {
        let output = ended.await.unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
        assert!(agent.calls.try_recv().is_err());
    } else {
        let (_, reply) = agent.calls.recv().await.unwrap();
        reply.send(Reply::Done).unwrap();
        let output = ended.await.unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "{\"reply\":\"done\"}\n");
    }
}
