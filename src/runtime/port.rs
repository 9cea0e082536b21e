//! Listening on a port, and who has it when it is taken.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use tokio::net::TcpListener;

/// The state of a listening socket in the kernel's table.
const LISTEN: &str = "0A";

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("listen on {address}: {holder} has the port; stop it, or set another {setting}")]
    Taken {
        /// The address.
        address: String,
        /// Who has it, as far as this user may look.
        holder: Holder,
        /// The key of the config that names it.
        setting: &'static str,
    },
    /// Anything else: a name that is unknown, an address that is not this machine's, a low port.
    #[error("listen on {address}: set another {setting}")]
    Other {
        /// The address.
        address: String,
        /// The key of the config that names it.
        setting: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Who has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(Option<Process>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(Process { pid, name }) => write!(out, "{name} (pid {pid})"),
            None => out.write_str("another process"),
        }
    }
}

/// Listens on `address`, which `setting` of the config names.
pub async fn bind(address: &str, setting: &'static str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| {
        let address = address.to_owned();
        if source.kind() != io::ErrorKind::AddrInUse {
            return BindError::Other { address, setting, source };
        }
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let holder = port.map_or(Holder(None), |port| holder(Path::new("/proc"), port));
        BindError::Taken { address, holder, setting }
    })
}

/// Who listens on `port`, on whatever address.
fn holder(proc: &Path, port: u16) -> Holder {
    let inodes: Vec<String> = ["net/tcp", "net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(proc.join(table)).ok())
        .flat_map(|table| table.lines().filter_map(|line| inode(line, port)).collect::<Vec<_>>())
        .collect();
    Holder(process_with(proc, &inodes))
}

/// The inode of a listening socket on `port`, if this line of the table is one.
fn inode(line: &str, port: u16) -> Option<String> {
    let mut fields = line.split_whitespace().skip(1);
    let (_, listens_on) = fields.next()?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let is_it = state == LISTEN && u16::from_str_radix(listens_on, 16) == Ok(port);
    is_it.then(|| format!("socket:[{inode}]"))
}

/// The process that has one of these sockets open. Other users' are only shown to root.
fn process_with(proc: &Path, sockets: &[String]) -> Option<Process> {
    if sockets.is_empty() {
        return None;
    }
    fs::read_dir(proc).ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let has_it = fs::read_dir(entry.path().join("fd")).ok()?.flatten().any(|fd| {
            let target = fs::read_link(fd.path()).ok();
            target.is_some_and(|target| sockets.iter().any(|socket| target == Path::new(socket)))
        });
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        has_it.then(|| Process { pid, name: name.trim().to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_named_with_who_has_it_and_what_to_set() {
        let first = bind("127.0.0.1:0", "[api] listen").await.unwrap();
        let address = first.local_addr().unwrap().to_string();
        let error = bind(&address, "[api] listen").await.unwrap_err().to_string();
        let ours = std::process::id();
        assert!(error.starts_with(&format!("listen on {address}: ")), "{error}");
        if cfg!(target_os = "linux") {
            assert!(error.contains(&format!("(pid {ours}) has the port")), "{error}");
        }
        assert!(error.ends_with("set another [api] listen"), "{error}");
    }

    #[test]
    fn only_a_listening_socket_on_the_port_counts() {
        let line = |local: &str, state: &str| {
            format!(
                "  0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0 0 77 1"
            )
        };
        let of = |local, state| inode(&line(local, state), 8_057);
        assert_eq!(of("0100007F:1F79", "0A").as_deref(), Some("socket:[77]"));
        assert_eq!(of("0100007F:1F79", "01"), None);
        assert_eq!(of("0100007F:1F80", "0A"), None);
        assert_eq!(inode("  sl  local_address rem_address   st", 8_057), None);
    }
}
