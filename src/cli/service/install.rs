//! Installing a service: looks whether it may be, writes it and has it started.
//!
//! Nothing is written before all has been looked at. What was written is started at once; when that
//! fails, typing it again goes on from there.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::manager;
use super::{Role, Scope, Service, What};
use crate::cli::exit::{Exit, failed};
use crate::cli::shell::Shell;
use crate::runtime::whole;
use crate::spool::{SpoolError, open_read_only};

/// What became of an install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Placed {
    /// It was written and started.
    Started,
    /// It was there already, and runs.
    Current,
}

/// Writes a service and starts it, unless that is done already.
pub(super) fn place(shell: &Shell, what: &What, service: &Service) -> anyhow::Result<Placed> {
    check_root(what, "install")?;
    if what.role == Role::Agent && what.scope() == Scope::User {
        check_config(shell)?;
    }
    check_config_is_there(what, service)?;
    check_spool(service)?;
    service.manager.reach(what.by_hand())?;
    if check_installed(shell, what, service)? == Placed::Current {
        return Ok(Placed::Current);
    }
    for dir in &service.dirs {
        make_dir(dir, what)?;
    }
    let parent = service.file.parent().expect("a service lies in a directory of services");
    fs::create_dir_all(parent)
        .and_then(|()| whole::write(&service.file, service.text.as_bytes(), 0o644))
        .with_context(|| format!("write {}", service.file.display()))?;
    shell.note(&format!("wrote {}", service.file.display()));
    let typed = what.typed();
    service.manager.start(&service.name, &service.file).with_context(|| {
        format!("start what is written; mend it and say `stampd service install {typed}` again")
    })?;
    shell.note(&format!(
        "the service runs; see `stampd service status {typed}` and `stampd service logs {typed}`"
    ));
    Ok(Placed::Started)
}

pub(super) fn check_root(what: &What, verb: &str) -> anyhow::Result<()> {
    if what.scope() == Scope::User || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let typed = what.typed();
    let text = format!("{verb} a service of the machine: say `sudo stampd service {verb} {typed}`");
    Err(failed(Exit::Denied, text))
}

fn check_config(shell: &Shell) -> anyhow::Result<()> {
    let config = shell.config()?;
    config.check_places(true)?;
    if config.agent.repos.is_empty() {
        let text = "install a service that watches nothing: say `stampd add DIR` first";
        return Err(failed(Exit::Config, text));
    }
    Ok(())
}

/// Without its config a service of the machine would end at its start, and nobody would be told.
fn check_config_is_there(what: &What, service: &Service) -> anyhow::Result<()> {
    let Some(config) = service.config.as_deref().filter(|config| !config.is_file()) else {
        return Ok(());
    };
    let hint = match what.role {
        Role::Agent => "have that user say `stampd add DIR` first",
        Role::Bridge => "write it first, as docs/bridge.md says",
        Role::Adapter => "write it first, as docs/adapter.md says",
    };
    let text = format!("find the service's config: there is no {}; {hint}", config.display());
    Err(failed(Exit::Config, text))
}

/// A spool that a newer version wrote would stop the service at its start, over and over.
fn check_spool(service: &Service) -> anyhow::Result<()> {
    let state_dir = service.dirs.first();
    match state_dir.map(|dir| open_read_only(dir)) {
        Some(Err(error @ SpoolError::Newer { .. })) => Err(anyhow::Error::new(error)
            .context("install an older stampd than the one that wrote here last")),
        // What else may be wrong with it, the agent says better.
        _ => Ok(()),
    }
}

/// Whether there is something to do: what is installed as it should be and runs, is not touched.
fn check_installed(shell: &Shell, what: &What, service: &Service) -> anyhow::Result<Placed> {
    let shown = service.manager.show(&service.name)?;
    let version = version_of_agent(shell).filter(|_| what.role == Role::Agent);
    let Ok(there) = fs::read_to_string(&service.file) else {
        let by_hand = what.scope() == Scope::User && version.is_some() && !shown.is_active();
        let text = "start the service: an agent runs by hand already; end it first";
        return if by_hand { Err(failed(Exit::Temporary, text)) } else { Ok(Placed::Started) };
    };
    if !there.contains("stampd") {
        let place = service.file.display();
        let text = format!("write {place}: what is there is not stampd's; move it away");
        return Err(failed(Exit::Usage, text));
    }
    let is_current = version.is_none_or(|version| version == crate::VERSION);
    let runs = shown.is_active() && shown.is_enabled();
    let is_done = there == service.text && runs && is_current;
    Ok(if is_done { Placed::Current } else { Placed::Started })
}

/// The version of the agent that runs now, if one does.
fn version_of_agent(shell: &Shell) -> Option<String> {
    let config = shell.config().ok()?;
    shell.status(&config, manager::PATIENCE).ok().map(|status| status.version)
}

/// Makes a directory that the sandbox opens when it is built, owned by whoever the service runs as.
fn make_dir(dir: &Path, what: &What) -> anyhow::Result<()> {
    let shown = || format!("make {}", dir.display());
    let missing: Vec<_> = dir.ancestors().take_while(|above| !above.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(shown)?;
    if what.scope() == Scope::System {
        let above = missing.last().and_then(|top| top.parent()).unwrap_or(dir);
        let (uid, gid) = manager::owner_of(above).with_context(shown)?;
        // Not through a link: whoever owns what is above may have put one there meanwhile.
        for made in missing {
            std::os::unix::fs::lchown(made, Some(uid), Some(gid)).with_context(shown)?;
        }
    }
    Ok(())
}
