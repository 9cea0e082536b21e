//! `stampd run`: the agent, in the foreground.

use std::path::PathBuf;

use anyhow::Context as _;

use super::exit::{Exit, failed};
use super::shell::Shell;
use crate::agent;
use crate::config::{self, Config, Flags};
use crate::runtime::clock::Clock;
use crate::runtime::signal::Signals;
use crate::runtime::supervisor::Supervisor;
use crate::runtime::telemetry;

/// What the agent is started with.
#[derive(Debug, clap::Args)]
#[command(after_help = "Without a config file, `stampd run --repo PATH` is all it takes.")]
pub(super) struct Args {
    /// Watch this directory instead of the repos of the config; may be given several times
    #[arg(long, value_name = "PATH")]
    repo: Vec<PathBuf>,
    /// The namespace of the stamps of those repos [default: local.dev.NAME]
    #[arg(long, value_name = "A.B.C", requires = "repo")]
    namespace: Option<String>,
}

pub(super) fn run(shell: &Shell, args: Args) -> anyhow::Result<Exit> {
    let repos = args.repo.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let flags = Flags { repos, namespace: args.namespace, ..shell.flags() };
    let config = config::load(&flags, &shell.environment)?;
    if config.agent.repos.is_empty() && config.api.is_none() {
        let text = "watch anything: no repo is configured; say `stampd run --repo PATH`, or add a \
                    [[repo]] section to the config, or [api] to stamp by request alone \
                    (`stampd config example`)";
        return Err(failed(Exit::Config, text));
    }
    // A missing repo may come back, and is a state; one that is a file never becomes a directory.
    config.check_places(false)?;
    telemetry::init(&config.telemetry, shell.log_style())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("stampd")
        .enable_all()
        .build()
        .context("start the runtime")?;
    let outcome = runtime.block_on(supervise(shell, &config));
    // Whatever did not end within the grace must not hold the process up.
    runtime.shutdown_background();
    outcome
}

/// Starts every part, and waits until a signal or a failure has stopped them all.
async fn supervise(shell: &Shell, config: &Config) -> anyhow::Result<Exit> {
    // Before anything is started that a sudden end would hurt.
    let signals = Signals::install().context("listen to signals")?;
    let mut supervisor = Supervisor::new();
    let by_hand = shell.environment.get("NOTIFY_SOCKET").is_none() && !shell.is_quiet();
    let started = tokio::task::block_in_place(|| {
        agent::start(&config.stages(by_hand), &Clock::system(), &mut supervisor)
    });
    if started.is_err() {
        supervisor.token().cancel();
    }
    // Also after a failed start: what has started stops in order, the spool's writer above all.
    let ended = supervisor.run(signals, config.agent.shutdown_grace).await;
    started.context("start the agent")?;
    ended?;
    Ok(Exit::Fine)
}
