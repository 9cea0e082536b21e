//! `stampd adapter`: Kafka's events into PostgreSQL, in the foreground.

use anyhow::Context as _;

use super::exit::{Exit, failed};
use super::shell::Shell;
use crate::adapter;
use crate::config::{self, Config, Flags, Role};
use crate::runtime::clock::Clock;
use crate::runtime::signal::Signals;
use crate::runtime::supervisor::Supervisor;
use crate::runtime::telemetry;

/// What the adapter is started with.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "KAFKA_BOOTSTRAP_SERVERS, POSTGRES_HOST and their like stand in for what the \
                        config does not say. Start as many as there are partitions: they share them."
)]
pub(super) struct Args {
    /// Where to serve health and metrics, instead of [adapter] listen
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
}

pub(super) fn run(shell: &Shell, args: Args) -> anyhow::Result<Exit> {
    let flags = Flags { role: Role::Adapter, listen: args.listen, ..shell.flags() };
    let config = config::load(&flags, &shell.environment)?;
    let adapter = of(&config)?;
    telemetry::init(&config.telemetry, shell.log_style())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("stampd")
        .enable_all()
        .build()
        .context("start the runtime")?;
    let outcome = runtime.block_on(supervise(&config, adapter));
    // Whatever did not end within the grace must not hold the process up.
    runtime.shutdown_background();
    outcome
}

/// The adapter's part of a config, which needs both of its roads.
pub(super) fn of(config: &Config) -> anyhow::Result<&adapter::Config> {
    config.adapter.as_ref().ok_or_else(|| {
        let text = "carry events: write [kafka] brokers and [postgres] url into the config, or set \
                    KAFKA_BOOTSTRAP_SERVERS and POSTGRES_HOST";
        failed(Exit::Config, text)
    })
}

/// Starts every part, and waits until a signal or a failure has stopped them all.
async fn supervise(config: &Config, adapter: &adapter::Config) -> anyhow::Result<Exit> {
    let signals = Signals::install().context("listen to signals")?;
    let mut supervisor = Supervisor::new();
    let started = adapter::start(adapter, Clock::system(), &mut supervisor).await;
    if started.is_err() {
        supervisor.token().cancel();
    }
    let ended = supervisor.run(signals, config.agent.shutdown_grace).await;
    started.context("start the adapter")?;
    ended?;
    Ok(Exit::Fine)
}
