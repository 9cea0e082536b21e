//! `stampd pause` and `stampd resume`.

use std::time::Duration;

use super::exit::Exit;
use super::shell::{Shell, unexpected};
use super::table::local;
use crate::control::{Reply, Request};
use crate::runtime::clock::Clock;
use crate::runtime::units::HumanDuration;

/// A tracker takes a command between two chunks of work.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// End the pause by itself after this long, such as 2h [default: when told to resume]
    #[arg(long = "for", value_name = "DURATION")]
    span: Option<HumanDuration>,
}

/// Has no repo looked at.
pub(super) fn pause(shell: &Shell, args: &Args) -> anyhow::Result<Exit> {
    let span = args.span.map(|HumanDuration(span)| span);
    let for_ms = span.map(|span| span.as_millis() as u64);
    tell(shell, &Request::Pause { for_ms }, "pause")?;
    let now = Clock::system().now();
    let until = span.map(|span| format!(" until {}", local(now.after(span), now)));
    let until = until.unwrap_or_default();
    shell.note(&format!("paused{until}: no repo is looked at; `stampd resume` ends it"));
    Ok(Exit::Fine)
}

/// Has everything looked at again.
pub(super) fn resume(shell: &Shell) -> anyhow::Result<Exit> {
    tell(shell, &Request::Resume, "resume")?;
    shell.note("everything is being compared with the disk; see `stampd status`");
    Ok(Exit::Fine)
}

fn tell(shell: &Shell, request: &Request, what: &str) -> anyhow::Result<()> {
    match shell.ask(&shell.config()?, request, Some(PATIENCE))? {
        Reply::Done => Ok(()),
        reply => Err(unexpected(what, reply)),
    }
}
