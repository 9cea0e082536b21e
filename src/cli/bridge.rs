//! `stampd bridge`: the stamping API over PostgreSQL, in the foreground.

use anyhow::Context as _;

use super::exit::{Exit, failed};
use super::shell::Shell;
use crate::bridge::{self, Stages};
use crate::config::{self, Config, Flags, Role};
use crate::runtime::clock::Clock;
use crate::runtime::signal::Signals;
use crate::runtime::supervisor::Supervisor;
use crate::runtime::telemetry;

/// What the bridge is started with.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a config file, POSTGRES_* and SERVICE_PORT in the environment are \
                        all it takes."
)]
pub(super) struct Args {
    /// The database, instead of [postgres] url; the password still comes from the config
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Listen here, instead of [api] listen
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
}

pub(super) fn run(shell: &Shell, args: Args) -> anyhow::Result<Exit> {
    let flags =
        Flags { role: Role::Bridge, postgres_url: args.url, listen: args.listen, ..shell.flags() };
    let config = config::load(&flags, &shell.environment)?;
    let stages = stages(&config)?;
    telemetry::init(&config.telemetry, shell.log_style())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("stampd")
        .enable_all()
        .build()
        .context("start the runtime")?;
    let outcome = runtime.block_on(supervise(&config, stages));
    // Whatever did not end within the grace must not hold the process up.
    runtime.shutdown_background();
    outcome
}

fn stages(config: &Config) -> anyhow::Result<Stages> {
    let Some(postgres) = config.postgres.clone() else {
        let text = "keep a record: no database is configured; set [postgres] url, or POSTGRES_HOST \
                    and its like in the environment (`config/.env.stamping.example`)";
        return Err(failed(Exit::Config, text));
    };
    let Some(http) = config.api.clone() else {
        let text = "serve anything: [api] enabled is false, and the API is all that a bridge has";
        return Err(failed(Exit::Config, text));
    };
    Ok(Stages {
        http,
        token: config.api_token.clone(),
        postgres,
        kafka: config.kafka.clone(),
        publish_wait: config.publish_wait,
    })
}

/// Starts every part, and waits until a signal or a failure has stopped them all.
async fn supervise(config: &Config, stages: Stages) -> anyhow::Result<Exit> {
    let signals = Signals::install().context("listen to signals")?;
    let mut supervisor = Supervisor::new();
    let started = bridge::start(stages, &Clock::system(), &mut supervisor).await;
    if started.is_err() {
        supervisor.token().cancel();
    }
    let ended = supervisor.run(signals, config.agent.shutdown_grace).await;
    started.context("start the bridge")?;
    ended?;
    Ok(Exit::Fine)
}
