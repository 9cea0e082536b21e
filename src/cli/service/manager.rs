//! The service manager: systemd or launchd, through the programs that people type.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::Context as _;

use super::Scope;
use crate::cli::exit::{Exit, failed};

/// How long a running agent is waited for that is only to be looked at.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Who starts services here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manager {
    Systemd(Scope),
    Launchd,
}

/// How a service is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Shown {
    /// `active`, `inactive`, `failed`, … in systemd's words.
    pub(in crate::cli) active: String,
    /// `enabled`, `disabled`, … or nothing where there is no such thing.
    pub(super) enabled: String,
    /// Its process.
    pub(super) pid: Option<u32>,
}

impl Shown {
    /// Whether it runs, or is about to.
    pub(in crate::cli) fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "reloading")
    }

    /// Whether it starts by itself.
    pub(in crate::cli) fn is_enabled(&self) -> bool {
        self.enabled == "enabled"
    }
}

impl Manager {
    /// This machine's.
    pub(super) const fn here(scope: Scope) -> Self {
        if cfg!(target_os = "macos") { Self::Launchd } else { Self::Systemd(scope) }
    }

    /// Fails unless there is a manager that answers: before anything is written. `by_hand` is what
    /// does the same without one.
    pub(super) fn reach(self, by_hand: &str) -> anyhow::Result<()> {
        let (program, args) = match self {
            Self::Systemd(_) => ("systemctl", self.args(&["daemon-reload"])),
            Self::Launchd => ("launchctl", self.args(&["print", &domain()])),
        };
        let output = run(program, &args)?;
        if output.status.success() {
            return Ok(());
        }
        let text = format!(
            "run {}: {}; without a service manager, start `{by_hand}` by other means",
            typed(program, &args),
            said(&output)
        );
        Err(failed(Exit::NotFound, text))
    }

    /// Has what was written taken up, started now and at every login or boot.
    pub(super) fn start(self, name: &str, file: &Path) -> anyhow::Result<()> {
        match self {
            Self::Systemd(_) => {
                self.systemctl(&["daemon-reload"])?;
                self.systemctl(&["enable", name])?;
                self.systemctl(&["restart", name])
            }
            Self::Launchd => {
                // One that was not there is not there now either.
                let _ = run("launchctl", &["bootout".to_owned(), target(name)]);
                let file = file.to_string_lossy().into_owned();
                must("launchctl", &["bootstrap".to_owned(), domain(), file])
            }
        }
    }

    /// Stops it, now and for good.
    pub(super) fn stop(self, name: &str) -> anyhow::Result<()> {
        match self {
            Self::Systemd(_) => self.systemctl(&["disable", "--now", name]),
            Self::Launchd => must("launchctl", &["bootout".to_owned(), target(name)]),
        }
    }

    /// Forgets what is no longer written anywhere.
    pub(super) fn forget(self) -> anyhow::Result<()> {
        match self {
            Self::Systemd(_) => self.systemctl(&["daemon-reload"]),
            Self::Launchd => Ok(()),
        }
    }

    /// How a service is, installed or not.
    pub(super) fn show(self, name: &str) -> anyhow::Result<Shown> {
        match self {
            Self::Systemd(_) => {
                let properties = "--property=ActiveState,UnitFileState,MainPID";
                let args = self.args(&["show", properties, name]);
                let output = run("systemctl", &args)?;
                if !output.status.success() {
                    let text = format!("run {}: {}", typed("systemctl", &args), said(&output));
                    return Err(failed(Exit::NotFound, text));
                }
                Ok(of_systemd(&String::from_utf8_lossy(&output.stdout)))
            }
            Self::Launchd => {
                let output = run("launchctl", &["print".to_owned(), target(name)])?;
                Ok(of_launchd(&String::from_utf8_lossy(&output.stdout)))
            }
        }
    }

    /// Prints its log, straight to whoever called.
    pub(super) fn logs(
        self,
        name: &str,
        file: &Path,
        lines: u32,
        follow: bool,
    ) -> anyhow::Result<Exit> {
        let lines = format!("-n{lines}");
        let mut command = match self {
            Self::Systemd(_) => {
                let mut command = Command::new("journalctl");
                command.args(self.args(&["--no-pager", &lines, "-u", name]));
                command
            }
            Self::Launchd => {
                let mut command = Command::new("tail");
                command.arg(&lines).arg(file);
                command
            }
        };
        if follow {
            command.arg("-f");
        }
        let status = command.status().map_err(|error| not_here(&command, &error))?;
        Ok(if status.success() { Exit::Fine } else { Exit::NotFound })
    }

    fn systemctl(self, args: &[&str]) -> anyhow::Result<()> {
        must("systemctl", &self.args(args))
    }

    fn args(self, args: &[&str]) -> Vec<String> {
        let scope = match self {
            Self::Systemd(Scope::User) => Some("--user"),
            Self::Systemd(Scope::System) | Self::Launchd => None,
        };
        scope.into_iter().chain(args.iter().copied()).map(str::to_owned).collect()
    }
}

/// The domain of the user who is logged in.
fn domain() -> String {
    format!("gui/{}", rustix::process::getuid().as_raw())
}

fn target(name: &str) -> String {
    format!("{}/{name}", domain())
}

fn of_systemd(properties: &str) -> Shown {
    let property = |name: &str| {
        let of_name = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        properties.lines().find_map(of_name).unwrap_or_default()
    };
    let pid = property("MainPID").parse().ok().filter(|pid| *pid != 0);
    let (active, enabled) = (property("ActiveState"), property("UnitFileState"));
    Shown { active, enabled, pid }
}

fn of_launchd(print: &str) -> Shown {
    let value = |name: &str| {
        print.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(" = "))
    };
    let active = match value("state") {
        Some("running") => "active",
        Some(_) | None => "inactive",
    };
    let enabled = if print.is_empty() { "" } else { "enabled" };
    let pid = value("pid").and_then(|pid| pid.parse().ok());
    Shown { active: active.to_owned(), enabled: enabled.to_owned(), pid }
}

fn must(program: &str, args: &[String]) -> anyhow::Result<()> {
    let output = run(program, args)?;
    if output.status.success() {
        return Ok(());
    }
    let text = format!("run {}: {}", typed(program, args), said(&output));
    Err(failed(Exit::Unexpected, text))
}

fn run(program: &str, args: &[String]) -> anyhow::Result<Output> {
    let mut command = Command::new(program);
    command.args(args).output().map_err(|error| not_here(&command, &error))
}

fn not_here(command: &Command, error: &io::Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy().into_owned();
    let text = match error.kind() {
        io::ErrorKind::NotFound => format!(
            "run {program}: it is not here; without a service manager, start `stampd run` by other \
             means"
        ),
        _ => format!("run {program}: {error}"),
    };
    failed(Exit::NotFound, text)
}

fn typed(program: &str, args: &[String]) -> String {
    format!("{program} {}", args.join(" "))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// The home of a user, also of one that the machine knows from elsewhere.
pub(super) fn home_of(user: &str) -> anyhow::Result<PathBuf> {
    let output = run("getent", &["passwd".to_owned(), user.to_owned()])?;
    let entry = String::from_utf8_lossy(&output.stdout).into_owned();
    let home = entry.split(':').nth(5).filter(|home| !home.is_empty());
    home.map(PathBuf::from)
        .ok_or_else(|| failed(Exit::NotFound, format!("find the user {user:?}: there is none")))
}

/// Who owns a directory.
pub(super) fn owner_of(dir: &Path) -> anyhow::Result<(u32, u32)> {
    let stat = std::fs::metadata(dir).with_context(|| format!("look at {}", dir.display()))?;
    Ok((stat.uid(), stat.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_either_manager_prints_is_read() {
        let shown = of_systemd("MainPID=77\nActiveState=active\nUnitFileState=enabled\n");
        assert!(shown.is_active() && shown.is_enabled());
        assert_eq!(shown.pid, Some(77));
        let shown = of_systemd("MainPID=0\nActiveState=failed\nUnitFileState=\n");
        assert!(!shown.is_active() && !shown.is_enabled());
        assert_eq!(shown.pid, None);
        let shown = of_launchd("gui/501/stampd.agent = {\n\tstate = running\n\tpid = 9\n}\n");
        assert!(shown.is_active() && shown.is_enabled());
        assert_eq!(shown.pid, Some(9));
        assert!(!of_launchd("").is_active());
    }
}
