//! `stampd scan` and `stampd sync`: asking the agent to do now what it does anyway.

use std::time::Duration;

use super::exit::Exit;
use super::progress::while_asking;
use super::shell::{Shell, block_on, heard, unexpected};
use crate::control::{Reply, Request};
use crate::model::status::Status;

/// How much longer than the agent a client waits for the agent to say that time is up.
const MARGIN: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct ScanArgs {
    /// Only this repo
    #[arg(long, value_name = "NAME")]
    repo: Option<String>,
    /// Return when every difference between disk and record is durable
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct SyncArgs {
    /// Return when every enabled sink has confirmed every stamp there is now, or after --timeout
    #[arg(long)]
    wait: bool,
}

/// Compares the disk with the record.
pub(super) fn scan(shell: &Shell, args: &ScanArgs) -> anyhow::Result<Exit> {
    let config = shell.config()?;
    let request = Request::Scan { repo: args.repo.clone() };
    if !args.wait {
        let reply = shell.nudge(&config, &request)?;
        return conclude(shell, reply, "scan", "a comparison with the disk is under way");
    }
    let pending = |status: &Status| status.repos.iter().map(|repo| repo.pending).sum();
    let socket = shell.socket(&config);
    let asking = while_asking(shell, &socket, &request, shell.timeout(), pending);
    conclude(shell, heard(block_on(asking)??)?, "scan", "every difference is stamped")
}

/// Delivers what is queued.
pub(super) fn sync(shell: &Shell, args: &SyncArgs) -> anyhow::Result<Exit> {
    let config = shell.config()?;
    let timeout_ms = shell.timeout().map(|timeout| timeout.as_millis() as u64);
    let request = Request::Sync { timeout_ms };
    if !args.wait {
        let reply = shell.nudge(&config, &request)?;
        return conclude(shell, reply, "sync", "delivery is under way");
    }
    let patience = shell.timeout().map(|timeout| timeout + MARGIN);
    let queued = |status: &Status| status.sinks.iter().map(|sink| sink.queued).sum();
    let socket = shell.socket(&config);
    let asking = while_asking(shell, &socket, &request, patience, queued);
    conclude(shell, heard(block_on(asking)??)?, "sync", "every stamp is confirmed")
}

fn conclude(shell: &Shell, reply: Reply, what: &str, done: &str) -> anyhow::Result<Exit> {
    match reply {
        Reply::Done => {
            shell.note(done);
            Ok(Exit::Fine)
        }
        reply => Err(unexpected(&format!("{what} to the end"), reply)),
    }
}
