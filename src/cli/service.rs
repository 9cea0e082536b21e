//! `stampd service print|install|uninstall --user`: the systemd unit of one user.
//!
//! The unit is the one in `packaging/systemd`, with the paths of this machine and config put in.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use anyhow::Context as _;
use directories::BaseDirs;

use super::exit::{Exit, failed};
use super::shell::{Shell, print};
use crate::config::Config;

const TEMPLATE: &str = include_str!("../../packaging/systemd/stampd-user.service");
const UNIT: &str = "stampd.service";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the unit that install would write
    Print(Scope),
    /// Write the unit, enable it and start it
    Install(Scope),
    /// Stop it, disable it and remove the unit; config, spool and logs stay
    Uninstall(Scope),
}

#[derive(Debug, clap::Args)]
pub(super) struct Scope {
    /// Of the user's own service manager
    #[arg(long, required = true)]
    user: bool,
}

pub(super) fn run(shell: &Shell, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Print(_) => print(&unit(shell, &shell.config()?)?)?,
        Command::Install(_) => install(shell)?,
        Command::Uninstall(_) => uninstall(shell)?,
    }
    Ok(Exit::Fine)
}

/// The unit for this program and this config.
fn unit(shell: &Shell, config: &Config) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("find this program's own path")?;
    let file = config.file.as_ref().map(|file| format!(" --config {}", quoted(file)));
    let state_dir = shell.flags().state_dir.map(|_| &config.agent.state_dir);
    let state_dir = state_dir.map(|dir| format!(" --state-dir {}", quoted(dir)));
    let flags = file.into_iter().chain(state_dir).collect::<String>();
    let start = format!("ExecStart={}{flags} run", quoted(&program));
    let own: Vec<_> = config.agent.own_dirs.iter().map(|dir| quoted(dir)).collect();
    let writable = format!("ReadWritePaths={}", own.join(" "));
    let fill = |line: &str| match line.split_once('=') {
        Some(("ExecStart", _)) => start.clone(),
        Some(("ReadWritePaths", _)) => writable.clone(),
        _ => line.to_owned(),
    };
    Ok(TEMPLATE.lines().map(|line| fill(line) + "\n").collect())
}

/// A path in a unit: quoted, and without systemd's specifiers.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let escaped =
        path.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

fn unit_path() -> anyhow::Result<PathBuf> {
    let base = BaseDirs::new()
        .ok_or_else(|| failed(Exit::Config, "find the place for user units: HOME is not set"))?;
    Ok(base.config_dir().join("systemd/user").join(UNIT))
}

fn install(shell: &Shell) -> anyhow::Result<()> {
    let config = shell.config()?;
    config.check_places(true)?;
    if config.agent.repos.is_empty() {
        let text = "install a service that watches nothing: add a [[repo]] to the config first";
        return Err(failed(Exit::Config, text));
    }
    let (path, text) = (unit_path()?, unit(shell, &config)?);
    // The sandbox can only open what is there when it is built.
    for dir in &config.agent.own_dirs {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("make {}", dir.display()))?;
    }
    write(&path, &text)?;
    shell.note(&format!("wrote {}", path.display()));
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", UNIT])?;
    systemctl(&["restart", UNIT])?;
    shell.note(
        "the service runs; see `stampd status`, and its log with: journalctl --user -u stampd",
    );
    Ok(())
}

/// Writes the unit in one step: the service manager may look at any moment.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let fresh = path.with_extension("service.new");
    let parent = path.parent().expect("the unit lies in a directory of units");
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(&fresh, text))
        .and_then(|()| fs::rename(&fresh, path))
        .with_context(|| format!("write {}", path.display()))
}

fn uninstall(shell: &Shell) -> anyhow::Result<()> {
    let path = unit_path()?;
    if !path.exists() {
        let text = format!("find the service: there is no {}", path.display());
        return Err(failed(Exit::NotFound, text));
    }
    systemctl(&["disable", "--now", UNIT])?;
    fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    systemctl(&["daemon-reload"])?;
    shell.note(&format!("removed {}; config, spool and logs stay", path.display()));
    Ok(())
}

fn systemctl(args: &[&str]) -> anyhow::Result<()> {
    let typed = format!("systemctl --user {}", args.join(" "));
    let output = Process::new("systemctl").arg("--user").args(args).output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text =
                format!("run {typed}: systemd is not here; start `stampd run` by other means");
            return Err(failed(Exit::NotFound, text));
        }
        output => output.with_context(|| format!("run {typed}"))?,
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(Exit::Unexpected, format!("run {typed}: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_unit_means_itself() {
        assert_eq!(quoted(Path::new("/a b/100%/\"x\\y$z")), r#""/a b/100%%/\"x\\y$$z""#);
    }

    #[test]
    fn every_line_that_is_filled_in_is_in_the_template_once() {
        for key in ["ExecStart=", "ReadWritePaths="] {
            assert_eq!(TEMPLATE.lines().filter(|line| line.starts_with(key)).count(), 1, "{key}");
        }
    }
}
