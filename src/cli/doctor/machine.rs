//! What the machine grants: permissions, watches, the clock, the disk.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::fs::statvfs;
use rustix::process::geteuid;

use super::Finding;
use crate::cli::table::{age, bytes, count};
use crate::config::Config;
use crate::model::status::Status;
use crate::runtime::clock::Clock;
use crate::runtime::secret::{Secret, SecretError};
use crate::spool::open_read_only;
use crate::watch::limit;

/// Below this the spool may soon have no room; below the other one it has none.
const ROOM_WARN: u64 = 1 << 30;
const ROOM_FAIL: u64 = 64 << 20;

/// How far ahead of the clock a stamp may lie before the clock is blamed.
const AHEAD_MAX: Duration = Duration::from_mins(1);

/// Whose our directories and the config are, and whether secrets can be read by us alone.
pub(super) fn permissions(config: &Config) -> Vec<Finding> {
    let mut findings = vec![state_dir(&config.agent.state_dir)];
    if let Some(file) = &config.file {
        findings.extend(only_ours(file, "config"));
    }
    findings.extend(config.secrets().iter().flat_map(of_secret));
    findings
}

fn state_dir(dir: &Path) -> Finding {
    const CHECK: &str = "state";
    let shown = dir.display();
    match fs::metadata(dir) {
        Ok(meta) if meta.uid() != geteuid().as_raw() => {
            let text = format!("{shown} belongs to another user (uid {})", meta.uid());
            Finding::fail(CHECK, text, "run stampd as that user, or set [agent] state_dir")
        }
        Ok(meta) if may_write(&meta) => {
            Finding::fail(CHECK, format!("others may write to {shown}"), chmod("700", dir))
        }
        Ok(meta) if meta.mode() & 0o200 == 0 => {
            Finding::fail(CHECK, format!("nobody may write to {shown}"), chmod("700", dir))
        }
        Ok(_) => Finding::ok(CHECK, format!("{shown} is ours")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::ok(CHECK, format!("{shown} is made at the first start"))
        }
        Err(error) => Finding::fail(CHECK, format!("{shown}: {error}"), format!("ls -ld {shown}")),
    }
}

/// A file that others may write could redirect stamps.
fn only_ours(file: &Path, check: &'static str) -> Option<Finding> {
    let is_open = fs::metadata(file).is_ok_and(|meta| may_write(&meta));
    let text = format!("others may write to {}", file.display());
    is_open.then(|| Finding::fail(check, text, chmod("go-w", file)))
}

fn may_write(meta: &Metadata) -> bool {
    meta.mode() & 0o022 != 0
}

fn chmod(mode: &str, path: &Path) -> String {
    format!("chmod {mode} '{}'", path.display())
}

fn of_secret((name, secret): &(String, Secret)) -> Vec<Finding> {
    let (way, reference) = secret.reference();
    let mut findings = Vec::new();
    match secret.fetch() {
        Ok(_) => findings.push(Finding::ok("secret", format!("{name} is there ({way})"))),
        // A tool outside of the service has none, and need not.
        Err(SecretError::NoCredentials(_)) => {
            let text = format!("{name} is a credential, which the service alone can read");
            findings.push(Finding::ok("secret", text));
        }
        Err(error) => {
            let text = format!("{name}: failed to {error}");
            findings.push(Finding::fail("secret", text, "stampd config show --origin"));
        }
    }
    let file = Path::new(&reference);
    let is_open = |meta: &Metadata| meta.mode() & 0o077 != 0;
    if way == "file" && fs::metadata(file).is_ok_and(|meta| is_open(&meta)) {
        let text = format!("{name}: others may read {}", file.display());
        findings.push(Finding::warn("secret", text, chmod("600", file)));
    }
    findings
}

/// Whether the kernel has watches enough.
pub(super) fn watches(status: Option<&Status>) -> Finding {
    const CHECK: &str = "watches";
    let of_repos = |figure: fn(&Status) -> u64| status.map_or(0, figure);
    let watched =
        of_repos(|status| status.repos.iter().map(|repo| repo.coverage.directories_watched).sum());
    let polled =
        of_repos(|status| status.repos.iter().map(|repo| repo.coverage.directories_polled).sum());
    let report = limit::report(watched + polled);
    let (name, most) = report.limit();
    if most == 0 {
        return Finding::ok(CHECK, "there is no limit here");
    }
    let text = format!("{} of {} that {name} allows are held", count(report.held()), count(most));
    if polled > 0 {
        let text = format!("{text}: {} directories are polled", count(polled));
        return Finding::fail(CHECK, text, report.remedy());
    }
    if report.held() > most / 10 * 8 {
        return Finding::warn(CHECK, text, report.remedy());
    }
    Finding::ok(CHECK, text)
}

/// Whether the time of day can be right.
pub(super) fn clock(config: &Config) -> Finding {
    const CHECK: &str = "clock";
    let now = Clock::system().now();
    let repos = open_read_only(&config.spool.state_dir).and_then(|reader| reader.repos());
    let newest =
        repos.ok().and_then(|repos| repos.iter().filter_map(|repo| repo.last_change).max());
    if let Some(newest) = newest.filter(|newest| newest.since(now) > AHEAD_MAX) {
        let text = format!("it is {now}, and the newest stamp was taken at {newest}");
        return Finding::fail(CHECK, text, "sudo timedatectl set-ntp true");
    }
    let asked = ["show", "--property=NTPSynchronized", "--value"];
    let said = Command::new("timedatectl").args(asked).output().ok();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let newest = newest.map_or_else(String::new, |newest| {
        format!("; the newest stamp was taken {}", age(newest, now))
    });
    match said.as_deref() {
        Some("no") => {
            let text = format!("it is {now}, and no time server has confirmed that{newest}");
            Finding::warn(CHECK, text, "sudo timedatectl set-ntp true")
        }
        Some("yes") => Finding::ok(CHECK, format!("it follows a time server{newest}")),
        Some(_) | None => Finding::ok(CHECK, format!("it is {now}{newest}")),
    }
}

/// Whether the spool has room.
pub(super) fn disk(config: &Config) -> Finding {
    const CHECK: &str = "disk";
    let dir = &config.agent.state_dir;
    let there = dir.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    let room = match statvfs(there) {
        Ok(room) => room.f_bavail.saturating_mul(room.f_frsize),
        Err(error) => {
            let text = format!("{}: {error}", there.display());
            return Finding::fail(CHECK, text, format!("df -h '{}'", there.display()));
        }
    };
    let most = config.spool.max_bytes;
    let text = format!("{} are free for a spool of at most {}", bytes(room), bytes(most));
    let mend = || format!("df -h '{}', or set [agent] state_dir elsewhere", there.display());
    match room {
        0..ROOM_FAIL => Finding::fail(CHECK, text, mend()),
        ROOM_FAIL..ROOM_WARN => Finding::warn(CHECK, text, mend()),
        _ => Finding::ok(CHECK, text),
    }
}
