//! `stampd adapter`: Kafka's events into PostgreSQL, in the foreground.

use std::num::NonZeroUsize;

use super::exit::{Exit, failed};
use super::role;
use super::shell::Shell;
use crate::adapter;
use crate::config::{self, Config, Flags, Role};
use crate::runtime::clock::Clock;
use crate::runtime::supervisor::Supervisor;

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
    let start = async |supervisor: &mut Supervisor| {
        adapter::start(adapter, Clock::system(), supervisor).await
    };
    role::run(shell, &config, "adapter", NonZeroUsize::new(2), start)
}

/// The adapter's part of a config, which needs both of its roads.
pub(super) fn of(config: &Config) -> anyhow::Result<&adapter::Config> {
    config.adapter.as_ref().ok_or_else(|| {
        let text = "carry events: write [kafka] brokers and [postgres] url into the config, or set \
                    KAFKA_BOOTSTRAP_SERVERS and POSTGRES_HOST";
        failed(Exit::Config, text)
    })
}
