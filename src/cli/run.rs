//! `stampd run`: the agent, in the foreground.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::exit::{Exit, failed};
use super::role;
use super::shell::Shell;
use crate::agent;
use crate::config::{self, Flags};
use crate::runtime::clock::Clock;
use crate::runtime::supervisor::Supervisor;

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
    let by_hand = shell.environment.get("NOTIFY_SOCKET").is_none() && !shell.is_quiet();
    let start = async |supervisor: &mut Supervisor| {
        tokio::task::block_in_place(|| {
            agent::start(&config.stages(by_hand), &Clock::system(), supervisor)
        })
    };
    role::run(shell, &config, "agent", NonZeroUsize::new(2), start)
}
