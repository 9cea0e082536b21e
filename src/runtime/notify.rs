//! Talking to the service manager: READY, STOPPING, EXTEND_TIMEOUT_USEC and WATCHDOG.
//!
//! Everything here is silent where there is no service manager (`NOTIFY_SOCKET` is not set).

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// How much more time to start is asked for, and how often: the manager gives up on us this long
/// after we hang, and no sooner however long the first comparison with the disk takes.
const START_EXTENSION: Duration = Duration::from_mins(1);
const START_EXTENSION_EVERY: Duration = Duration::from_secs(20);

/// Waits for `started`, asking for more time meanwhile, then reports READY.
pub async fn ready_when(started: impl Future<Output = ()>) {
    let mut started = pin!(started);
    loop {
        extend_start();
        if tokio::time::timeout(START_EXTENSION_EVERY, started.as_mut()).await.is_ok() {
            break;
        }
    }
    tell(&NotifyState::Ready);
}

/// Shows one line in `systemctl status`.
pub fn status(line: &str) {
    tell(&NotifyState::Status(line));
}

/// Feeds the watchdog until `stop`, and then reports that the stop has begun. For a task of its own
/// beside the others: every long-lived part is supervised, so that it still runs says that all do.
pub async fn accompany(stop: CancellationToken) -> Result<(), Infallible> {
    feed_watchdog(stop).await;
    stopping();
    Ok(())
}

/// Reports that the stop has begun.
fn stopping() {
    tell(&NotifyState::Stopping);
}

/// Feeds the watchdog, at half of its period. Returns when `stop` is cancelled; where no watchdog was
/// asked for it does nothing until then.
async fn feed_watchdog(stop: CancellationToken) {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return stop.cancelled().await;
    };
    let mut beat = tokio::time::interval(period / 2);
    // After a suspended laptop wakes, the missed beats are not made up for.
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => tell(&NotifyState::Watchdog),
            () = stop.cancelled() => return,
        }
    }
}

fn extend_start() {
    let micros = u32::try_from(START_EXTENSION.as_micros()).expect("a minute fits 32 bits");
    tell(&NotifyState::ExtendTimeoutUsec(micros));
}

fn tell(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        // The service manager acts on silence by itself; we only say why it was silent.
        tracing::warn!(%error, "cannot reach the service manager");
    }
}
