//! The stampd binary as a process: with a scratch home, started, ready, ended by signal.

use std::fs::{File, Permissions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::schema;
use super::wait::{DEADLINE, wait_for};

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

const LISTEN: Duration = Duration::from_millis(50);

/// A scratch home for one agent: its config, state and runtime directories, and nothing of the
/// developer's own environment. It outlives the processes started in it, so that a killed agent can
/// be started again over the same spool.
pub struct Home {
    dir: TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    /// Makes an empty home.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("stampd-it-").tempdir();
        let home = Self { dir: dir.expect("a scratch directory"), variables: Vec::new() };
        for part in [home.state_dir(), home.runtime_dir(), home.path().join("home")] {
            std::fs::create_dir(part).expect("the home takes directories");
        }
        home
    }

    /// The home's directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where the spool lies.
    pub fn state_dir(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Where the control socket lies.
    pub fn runtime_dir(&self) -> PathBuf {
        self.path().join("run")
    }

    /// The config file that every command is given.
    pub fn config_file(&self) -> PathBuf {
        self.path().join("stampd.toml")
    }

    /// Writes the config file.
    pub fn configure(&self, toml: &str) {
        std::fs::write(self.config_file(), toml).expect("the home takes a config file");
    }

    /// Adds a variable to the environment of every later command, such as a password's.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// A variable that was set.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let of_name = self.variables.iter().rev().find(|(set, _)| set == name);
        of_name.map(|(_, value)| value.as_str())
    }

    /// A stampd command that knows only this home.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stampd"));
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.path().join("home"))
            .env("STAMPD_AGENT__STATE_DIR", self.state_dir())
            .env("STAMPD_AGENT__RUNTIME_DIR", self.runtime_dir())
            .env("RUST_BACKTRACE", "1")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .arg("--config")
            .arg(self.config_file())
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// A command of a user whom permissions hold, which they do not for root. The binary is handed
    /// over open: that user may have no way to where it lies.
    pub fn unprivileged(&self, args: &[&str]) -> Command {
        let told = self.command(args);
        if !rustix::process::geteuid().is_root() {
            return told;
        }
        std::fs::set_permissions(self.path(), Permissions::from_mode(0o755)).expect("it is ours");
        let binary = File::open(told.get_program()).expect("the binary is there");
        fcntl_setfd(&binary, FdFlags::empty()).expect("a file can be handed over");
        let mut command = Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
        let variables = told.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.args(told.get_args()).env_clear().envs(variables).stdin(Stdio::null());
        command.current_dir("/").uid(NOBODY).gid(NOBODY);
        // Open until the command has started, which nobody here can know.
        std::mem::forget(binary);
        command
    }

    /// Gives the state to the user of [`unprivileged`](Self::unprivileged) commands.
    pub fn give_away(&self) {
        if rustix::process::geteuid().is_root() {
            for dir in [self.state_dir(), self.runtime_dir()] {
                chown(dir, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
            }
        }
    }

    /// Runs a command to its end. What it prints for programs must be as its schema says.
    pub fn run(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().expect("the stampd binary starts");
        schema::hold(&output.stdout);
        output
    }

    /// Runs a command that must succeed and returns its standard output.
    pub fn must(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {}\n{text}\n{errors}", output.status);
        text
    }

    /// Starts the agent and does not wait for it.
    pub fn start(&self) -> Agent {
        self.start_role(&["run"], "agent")
    }

    /// Starts a role under a name of its own, for its notices and its log, and does not wait for it.
    pub fn start_role(&self, args: &[&str], name: &str) -> Agent {
        Agent::spawn(self.command(args), self.path(), name)
    }

    /// Starts the agent and waits until it says that it is ready.
    pub fn start_ready(&self) -> Agent {
        let mut agent = self.start();
        agent.wait_ready();
        agent
    }
}

/// A running agent, killed with the value.
pub struct Agent {
    child: Child,
    notices: UnixDatagram,
    heard: String,
    log: PathBuf,
}

impl Agent {
    /// Starts a command whose notices and log lie in `dir` under its name.
    pub fn spawn(mut command: Command, dir: &Path, name: &str) -> Self {
        let notify = dir.join(format!("{name}.notify"));
        match std::fs::remove_file(&notify) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
        let notices = UnixDatagram::bind(&notify).expect("a notify socket is bound");
        notices.set_read_timeout(Some(LISTEN)).expect("the socket takes a timeout");
        // Also for a command that runs as another user.
        std::fs::set_permissions(&notify, Permissions::from_mode(0o777)).expect("it is ours");
        let log = dir.join(format!("{name}.log"));
        let append = File::options().create(true).append(true).open(&log);
        let child = command
            .env("NOTIFY_SOCKET", &notify)
            .stdout(Stdio::null())
            .stderr(append.expect("the directory takes a log"))
            .spawn()
            .expect("the command starts");
        Self { child, notices, heard: String::new(), log }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far, over all its lives in this home.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log is readable")
    }

    /// Waits for `READY=1` on the notify socket.
    pub fn wait_ready(&mut self) {
        self.wait_notice("READY=1");
    }

    /// Waits for a line on the notify socket. An agent that ends first fails the test.
    pub fn wait_notice(&mut self, line: &str) {
        let start = Instant::now();
        loop {
            let ended = self.child.try_wait().expect("the child is ours");
            self.listen();
            if self.heard.lines().any(|heard| heard == line) {
                return;
            }
            assert!(ended.is_none(), "{ended:?} before {line}:\n{}", self.log());
            assert!(start.elapsed() < DEADLINE, "no {line} yet:\n{}", self.log());
        }
    }

    /// Waits for a notice that begins with `prefix`, and returns the rest of it.
    pub fn wait_notice_of(&mut self, prefix: &str) -> String {
        let start = Instant::now();
        loop {
            self.listen();
            if let Some(rest) = self.heard.lines().find_map(|heard| heard.strip_prefix(prefix)) {
                return rest.to_owned();
            }
            assert!(start.elapsed() < DEADLINE, "no {prefix} yet:\n{}", self.log());
        }
    }

    /// Sends a signal, by pid.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a child's pid is not 0");
        kill_process(pid, signal).expect("the child takes a signal");
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        wait_for("the agent ends", || self.child.try_wait().expect("the child is ours"))
    }

    /// Asks it to end and waits for that.
    pub fn terminate(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Kills it, as a crash would.
    pub fn kill(self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Its resident memory in bytes, as the kernel counts it.
    pub fn resident(&self) -> u64 {
        self.memory_kib("VmRSS") * 1024
    }

    /// A figure of its memory, such as `VmHWM`, the most that was ever resident.
    pub fn memory_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the child lives");
        let of_name = |line: &str| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned);
        let line = status.lines().find_map(of_name);
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        kib.expect("the kernel tells it in kB")
    }

    /// Takes the next notice, or returns after a moment without one.
    fn listen(&mut self) {
        let mut packet = [0; 4096];
        if let Ok(length) = self.notices.recv(&mut packet) {
            self.heard.push_str(&String::from_utf8_lossy(&packet[..length]));
            self.heard.push('\n');
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            // Its home may have gone before it.
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("the agent's log:\n{log}");
        }
    }
}

/// How long a whole-process test lets work go on before it interrupts it: pseudo-random, so that
/// over many rounds every moment is hit, and reproducible from the round.
pub fn moment(round: u32, up_to: Duration) -> Duration {
    // Knuth's multiplicative hashing spreads consecutive rounds over the whole range.
    up_to.mul_f64(f64::from(round.wrapping_mul(2_654_435_761)) / f64::from(u32::MAX))
}
