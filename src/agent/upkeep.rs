//! Upkeep: what runs beside the pipeline. READY and the watchdog, and the purge of old bodies.

use std::convert::Infallible;
use std::time::Duration;

use super::roster::Roster;
use crate::runtime::clock::Clock;
use crate::runtime::notify;
use crate::runtime::supervisor::Supervisor;
use crate::spool::{Spool, SpoolError};

/// How often bodies that every sink has confirmed and retention lets go are purged.
const PURGE_EVERY: Duration = Duration::from_hours(1);

pub(super) fn start(roster: &Roster, spool: &Spool, clock: &Clock, supervisor: &mut Supervisor) {
    let roster = roster.clone();
    let token = supervisor.token();
    supervisor.spawn_short("ready notice", async move {
        let ready = notify::ready_when(all_compared(roster));
        token.run_until_cancelled(ready).await;
        Ok::<_, Infallible>(())
    });
    supervisor.spawn("service manager", notify::accompany(supervisor.token()));
    let (token, spool, clock) = (supervisor.token(), spool.clone(), clock.clone());
    supervisor.spawn("retention", async move {
        let purging = purge_forever(spool, clock);
        token.run_until_cancelled_owned(purging).await.unwrap_or(Ok(()))
    });
}

/// Returns when every repo has been compared with the disk once, or is not there to compare.
pub(super) async fn all_compared(roster: Roster) {
    for repo in roster.tracked() {
        repo.view.compared().await;
    }
}

async fn purge_forever(spool: Spool, clock: Clock) -> Result<(), SpoolError> {
    loop {
        tokio::time::sleep(PURGE_EVERY).await;
        // A slice at a time, so that stamps to be appended wait for none of it.
        while spool.purge(clock.now()).await?.more {}
    }
}
