//! `stampd bridge`: the stamping API over PostgreSQL, in the foreground.

use super::exit::{Exit, failed};
use super::role;
use super::shell::Shell;
use crate::bridge::{self, Stages};
use crate::config::{self, Config, Flags, Role};
use crate::runtime::clock::Clock;
use crate::runtime::supervisor::Supervisor;

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
    let start = async |supervisor: &mut Supervisor| {
        bridge::start(stages, &Clock::system(), supervisor).await
    };
    role::run(shell, &config, "bridge", None, start)
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
        intelligence: config.intelligence.clone(),
    })
}
