//! A PostgreSQL of a test's own, which it may kill and start again.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;

use super::postgres::Address;
use super::wait::wait_until;
use super::{free_port, random_name};

/// The server. Dropping it kills it.
pub struct Cluster {
    dir: TempDir,
    port: u16,
    password: String,
    process: Option<Child>,
}

impl Cluster {
    /// Makes a data directory and starts a server on it.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("stampd-cluster-").tempdir();
        let dir = dir.expect("a scratch directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("it is ours");
        let data = dir.path().join("data");
        fs::create_dir(&data).expect("the scratch directory takes directories");
        if let Some((uid, gid)) = server_user() {
            chown(&data, Some(uid), Some(gid)).expect("root may give it away");
        }
        let password = random_name("secret");
        let password_file = dir.path().join("password");
        fs::write(&password_file, &password).expect("the scratch directory takes files");
        let made = server(dir.path(), "initdb")
            .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync", "--pwfile", "/dev/stdin", "--pgdata"])
            .arg(&data)
            .stdin(File::open(&password_file).expect("it was just written"))
            .status();
        assert!(made.expect("initdb starts").success(), "{}", log(dir.path()));
        let mut cluster = Self { dir, port: free_port(), password, process: None };
        cluster.restart();
        cluster
    }

    /// Starts it again, on what it kept.
    pub fn restart(&mut self) {
        let process = server(self.dir.path(), "postgres")
            .arg("-D")
            .arg(self.dir.path().join("data"))
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "fsync=off", "-c", &format!("port={}", self.port)])
            .stdin(Stdio::null())
            .spawn();
        self.process = Some(process.expect("postgres starts"));
        let port = self.port.to_string();
        wait_until("PostgreSQL takes connections", || {
            let ready = Command::new(bin().join("pg_isready"))
                .args(["--quiet", "--host=127.0.0.1", "--port", &port])
                .status();
            ready.expect("pg_isready starts").success()
        });
    }

    /// Ends it as a crash would: every session is cut in the middle, nothing is written down, and the
    /// next start recovers. (A bare SIGKILL would leave its children behind, in the way of that.)
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let pid = Pid::from_raw(process.id().cast_signed()).expect("a child's pid is not 0");
        kill_process(pid, Signal::QUIT).expect("it takes a signal");
        process.wait().expect("it ends");
    }

    /// Its maintenance database, as its superuser.
    pub fn admin(&self) -> Address {
        Address {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: "postgres".to_owned(),
            password: self.password.clone(),
            database: "postgres".to_owned(),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program of the server's, as the user it wants to be.
fn server(dir: &Path, program: &str) -> Command {
    let program = bin().join(program);
    let mut command = match server_user() {
        None => Command::new(program),
        Some((uid, gid)) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string()]);
            command.arg("--clear-groups").arg(program);
            command
        }
    };
    let file = File::options().append(true).create(true).open(dir.join("server.log"));
    let file = file.expect("the scratch directory takes files");
    command.current_dir(dir).stdout(file.try_clone().expect("a file can be cloned")).stderr(file);
    command
}

/// The server refuses root, and its package brings a user for it.
fn server_user() -> Option<(u32, u32)> {
    let number = |flag: &str| {
        let id = Command::new("id").args([flag, "postgres"]).output().expect("id starts");
        String::from_utf8_lossy(&id.stdout).trim().parse().expect("PostgreSQL's user is there")
    };
    getuid().is_root().then(|| (number("-u"), number("-g")))
}

/// Where the newest server's programs are.
fn bin() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let mut versions: Vec<u32> =
        installed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.sort_unstable();
    let newest = versions.last().expect("PostgreSQL is installed");
    Path::new("/usr/lib/postgresql").join(newest.to_string()).join("bin")
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("server.log")).unwrap_or_default()
}
