//! The frame of the roles, which run in the foreground until they are told to stop.

use std::num::NonZeroUsize;

use anyhow::Context as _;

use super::exit::Exit;
use super::shell::Shell;
use crate::config::Config;
use crate::runtime::failpoint;
use crate::runtime::signal::Signals;
use crate::runtime::supervisor::Supervisor;
use crate::runtime::telemetry;

/// Opens the log, starts the parts of a role with `start` and waits until a signal or a failure has
/// stopped them all. `workers` is how many threads its tasks share; none is one for each core.
///
/// # Errors
/// When it cannot be started, or something of it failed; what was started has stopped in order then.
pub(super) fn run<E: std::error::Error + Send + Sync + 'static>(
    shell: &Shell,
    config: &Config,
    name: &'static str,
    workers: Option<NonZeroUsize>,
    start: impl AsyncFnOnce(&mut Supervisor) -> Result<(), E>,
) -> anyhow::Result<Exit> {
    telemetry::init(&config.telemetry, shell.log_style())?;
    if let Some(text) = shell.environment.get(failpoint::VARIABLE) {
        failpoint::arm(text);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers.get());
    }
    let runtime =
        builder.thread_name("stampd").enable_all().build().context("start the runtime")?;
    let outcome = runtime.block_on(supervise(config, name, start));
    // Whatever did not end within the grace must not hold the process up.
    runtime.shutdown_background();
    outcome
}

async fn supervise<E: std::error::Error + Send + Sync + 'static>(
    config: &Config,
    name: &'static str,
    start: impl AsyncFnOnce(&mut Supervisor) -> Result<(), E>,
) -> anyhow::Result<Exit> {
    // Before anything is started that a sudden end would hurt.
    let signals = Signals::install().context("listen to signals")?;
    let mut supervisor = Supervisor::new();
    let started = start(&mut supervisor).await;
    if started.is_err() {
        supervisor.token().cancel();
    }
    // Also after a failed start: what has started stops in order, a spool's writer above all.
    let ended = supervisor.run(signals, config.agent.shutdown_grace).await;
    started.with_context(|| format!("start the {name}"))?;
    ended?;
    Ok(Exit::Fine)
}
