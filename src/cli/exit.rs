//! Exit codes: what kind of end means which number, pinned for scripts and service managers.

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::{migrate, token};
use crate::adapter::AdapterError;
use crate::agent::{AgentError, PauseError};
use crate::bridge::BridgeError;
use crate::config::ConfigError;
use crate::control::ControlError;
use crate::repo::trust::TrustError;
use crate::runtime::secret::SecretError;
use crate::runtime::supervisor::SupervisorError;
use crate::runtime::telemetry::TelemetryError;
use crate::spool::SpoolError;
use crate::store::StoreError;
use crate::store::migrate::MigrateError;
use crate::store::tokens::TokenError;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// Something nobody foresaw.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No agent can be reached.
    NoAgent = 3,
    /// Degraded or parked, or there is work to do.
    Degraded = 4,
    /// What is on disk is not what was stamped.
    Mismatch = 5,
    /// A repo's own config waits for `stampd trust`.
    Untrusted = 6,
    /// What was asked for is not there.
    NotFound = 7,
    /// The system forbids it.
    Denied = 8,
    /// Trying again later may help.
    Temporary = 75,
    /// The config, or what it points to, has to be mended first.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An end that a command chose itself, with the text a person reads.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failed {
    exit: Exit,
    text: String,
}

/// Makes an error that ends the command with `exit`. The text reads after "failed to".
pub(crate) fn failed(exit: Exit, text: impl Into<String>) -> anyhow::Error {
    Failed { exit, text: text.into() }.into()
}

/// Tells the error on stderr and returns how the process ends. A reader that went away is no error:
/// `stampd log | head` is fine.
pub fn report(error: &anyhow::Error) -> Exit {
    if error.chain().any(is_broken_pipe) {
        return Exit::Fine;
    }
    // Nothing more can be done when stderr is gone too.
    let _ = writeln!(io::stderr(), "stampd: failed to {}", sentence(error));
    kind(error)
}

/// The error and its causes in one line, without saying the same twice.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            let joint = if text.is_empty() { "" } else { ": " };
            text.push_str(joint);
            text.push_str(&cause);
        }
    }
    text
}

fn is_broken_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The first cause whose kind is known decides.
fn kind(error: &anyhow::Error) -> Exit {
    error.chain().find_map(kind_of_cause).unwrap_or(Exit::Unexpected)
}

fn kind_of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(failed) = cause.downcast_ref::<Failed>() {
        return Some(failed.exit);
    }
    if let Some(error) = cause.downcast_ref::<AgentError>() {
        return of_agent(error);
    }
    if let Some(error) = cause.downcast_ref::<BridgeError>() {
        return Some(of_bridge(error));
    }
    if let Some(error) = cause.downcast_ref::<AdapterError>() {
        return of_adapter(error);
    }
    if let Some(error) = cause.downcast_ref::<ControlError>() {
        return of_control(error);
    }
    if let Some(error) = cause.downcast_ref::<SpoolError>() {
        return of_spool(error);
    }
    if let Some(error) = cause.downcast_ref::<MigrateError>() {
        return Some(migrate::exit_of(error));
    }
    if let Some(error) = cause.downcast_ref::<TokenError>() {
        return Some(token::exit_of(error));
    }
    if let Some(error) = cause.downcast_ref::<StoreError>() {
        return Some(migrate::of_store(error));
    }
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        let denied = matches!(
            error.kind(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        );
        return denied.then_some(Exit::Denied);
    }
    if let Some(TrustError::Damaged { .. }) = cause.downcast_ref() {
        return Some(Exit::Config);
    }
    let is_config =
        cause.is::<ConfigError>() || cause.is::<SecretError>() || cause.is::<TelemetryError>();
    if is_config {
        return Some(Exit::Config);
    }
    match cause.downcast_ref::<SupervisorError>() {
        Some(SupervisorError::Unfinished { .. }) => Some(Exit::Temporary),
        _ => None,
    }
}

/// It speaks with the words of the part that could not start, so that part is not among its causes.
fn of_agent(error: &AgentError) -> Option<Exit> {
    match error {
        AgentError::Spool(error) => of_spool(error),
        AgentError::Control(error) => of_control(error),
        AgentError::Postgres(_)
        | AgentError::Bridge(_)
        | AgentError::Enrich(_)
        | AgentError::Token(_)
        | AgentError::Pause(PauseError::Damaged(..)) => Some(Exit::Config),
        AgentError::Listen(_) => Some(Exit::Temporary),
        AgentError::Pause(PauseError::Io(..)) | AgentError::Supervisor(_) | AgentError::Hash(_) => {
            None
        }
    }
}

fn of_bridge(error: &BridgeError) -> Exit {
    match error {
        BridgeError::Bind(_) => Exit::Temporary,
        BridgeError::Token(_) | BridgeError::Postgres(_) | BridgeError::Enrich(_) => Exit::Config,
    }
}

fn of_adapter(error: &AdapterError) -> Option<Exit> {
    match error {
        AdapterError::Address(_) | AdapterError::Consumer(_) => Some(Exit::Config),
        AdapterError::Listen(_) => Some(Exit::Temporary),
        AdapterError::Supervisor(_) => None,
    }
}

fn of_control(error: &ControlError) -> Option<Exit> {
    match error {
        ControlError::NotRunning(_) => Some(Exit::NoAgent),
        ControlError::Foreign(_) | ControlError::Unsafe(_) => Some(Exit::Denied),
        ControlError::TimedOut(_) | ControlError::Garbled(..) | ControlError::InUse(_) => {
            Some(Exit::Temporary)
        }
        ControlError::NotASocket(_) | ControlError::TooLong(_) => Some(Exit::Config),
        ControlError::Io { .. } => None,
    }
}

fn of_spool(error: &SpoolError) -> Option<Exit> {
    match error {
        SpoolError::Unwritable { .. } | SpoolError::Denied { .. } => Some(Exit::Denied),
        SpoolError::Held { .. } | SpoolError::Full { .. } => Some(Exit::Temporary),
        SpoolError::Missing { .. } | SpoolError::UnknownStream(_) => Some(Exit::NotFound),
        SpoolError::Older { .. }
        | SpoolError::Newer { .. }
        | SpoolError::Foreign { .. }
        | SpoolError::OldSqlite { .. } => Some(Exit::Config),
        SpoolError::Altered { .. } => Some(Exit::Mismatch),
        SpoolError::Corrupt { .. }
        | SpoolError::BeyondEnd { .. }
        | SpoolError::Sqlite { .. }
        | SpoolError::Stopped => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_kind_of_an_error_decides_the_code_through_any_context() {
        let check = |error: anyhow::Error, expected: Exit| {
            assert_eq!(kind(&Err::<(), _>(error).context("do it").unwrap_err()), expected);
        };
        check(ControlError::NotRunning(PathBuf::new()).into(), Exit::NoAgent);
        check(ConfigError::Wrong(Vec::new()).into(), Exit::Config);
        check(SpoolError::Missing { path: PathBuf::new() }.into(), Exit::NotFound);
        let held = SpoolError::Held { path: PathBuf::new(), pid: None };
        check(AgentError::Spool(held).into(), Exit::Temporary);
        check(io::Error::from(io::ErrorKind::PermissionDenied).into(), Exit::Denied);
        check(failed(Exit::Mismatch, "verify"), Exit::Mismatch);
        check(anyhow::anyhow!("what?"), Exit::Unexpected);
    }

    #[test]
    fn causes_follow_each_other_in_one_line_and_are_not_repeated() {
        let error = io::Error::other("disk on fire");
        let error = anyhow::Error::new(error).context("read a: disk on fire").context("verify");
        assert_eq!(sentence(&error), "verify: read a: disk on fire");
    }
}
