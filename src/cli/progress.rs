//! Progress on a terminal, and nothing where there is none.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::shell::Shell;
use super::table::safe;
use crate::control::{self, ControlError, Reply, Request};
use crate::model::status::Status;

/// How often the agent is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A bar over so many bytes: rate, time left, and the path as the message.
pub(super) fn over_bytes(shell: &Shell, bytes: u64) -> ProgressBar {
    let template =
        "{bar:24} {bytes} of {total_bytes}  {binary_bytes_per_sec}  {eta} left  {wide_msg}";
    bar(shell, Some(bytes), template)
}

/// A sign of life over work that the server does without telling how far it is: the message, and how
/// long it has been at it.
pub(super) fn spinner(shell: &Shell) -> ProgressBar {
    let spinner = bar(shell, None, "{spinner} {elapsed}  {wide_msg}");
    if shell.shows_progress() {
        spinner.enable_steady_tick(LOOK_EVERY);
    }
    spinner
}

fn bar(shell: &Shell, length: Option<u64>, template: &str) -> ProgressBar {
    let target = if shell.shows_progress() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    ProgressBar::with_draw_target(length, target).with_style(style)
}

/// Asks the agent for something that takes a while, and shows how many stamps or paths are left, and
/// which path is next.
pub(super) async fn while_asking(
    shell: &Shell,
    socket: &Path,
    request: &Request,
    timeout: Option<Duration>,
    left: fn(&Status) -> u64,
) -> Result<Reply, ControlError> {
    let asking = control::call(socket, request, timeout);
    if !shell.shows_progress() {
        return asking.await;
    }
    let bar = bar(shell, None, "{bar:24} {pos} of {len}  {per_sec}  {eta} left  {wide_msg}");
    let mut asking = std::pin::pin!(asking);
    let reply = loop {
        // A timeout leaves the call where it is: it is only borrowed.
        match tokio::time::timeout(LOOK_EVERY, asking.as_mut()).await {
            Ok(reply) => break reply,
            Err(_) => look(&bar, socket, left).await,
        }
    };
    bar.finish_and_clear();
    reply
}

/// The most that was ever left is the whole; what an agent does not tell leaves the bar as it is.
async fn look(bar: &ProgressBar, socket: &Path, left: fn(&Status) -> u64) {
    let status = control::call(socket, &Request::Status, Some(LOOK_EVERY)).await;
    if let Ok(Reply::Status(status)) = status {
        let next = status.repos.iter().find_map(|repo| repo.at.as_deref());
        bar.set_message(next.map(safe).unwrap_or_default());
        let left = left(&status);
        let whole = bar.length().unwrap_or(0).max(left);
        bar.set_length(whole);
        bar.set_position(whole - left);
    }
}
