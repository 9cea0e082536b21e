//! The watch over steps that wait for their workflow: how many, and for how long.
//!
//! A step is never given up: its workflow may come after a month. But one that has waited for a day
//! has most likely lost it, and that is told: such steps are *overdue*.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Parts;
use super::view::Side;
use crate::store::operations::{Waiting, waiting};
use crate::store::{Session, StoreError};

/// How often they are counted.
const EVERY: Duration = Duration::from_mins(1);
/// How long a step may wait before it is told of.
const OVERDUE: Duration = Duration::from_hours(24);
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Watches until `stop`.
pub(super) async fn run(parts: Parts, stop: CancellationToken) -> Result<(), Infallible> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            looked = look(&parts) => match looked {
                Ok(waiting) => tell(&parts, &waiting),
                // The consumer tells how the database is.
                Err(error) => tracing::debug!(%error, "the steps that wait were not counted"),
            },
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn look(parts: &Parts) -> Result<Waiting, StoreError> {
    let mut session = Session::open(&parts.address).await?;
    let waiting = waiting(&mut session).await?;
    session.close(Instant::now() + GOODBYE).await;
    Ok(waiting)
}

fn tell(parts: &Parts, waiting: &Waiting) {
    parts.figures.pending(waiting);
    let Waiting { steps, longest } = waiting;
    let side = if *longest < OVERDUE {
        Side::Good
    } else {
        let days = longest.as_secs() / (24 * 3_600);
        Side::Bad(format!(
            "overdue: {steps} steps wait for workflows that nobody told of, the oldest for {days} \
             days; send their workflow-started again, or delete them from pending_steps"
        ))
    };
    let why = side.reason();
    if parts.view.pending_steps(side)
        && let Some(why) = why
    {
        tracing::warn!(why, "steps have no workflow");
    }
}
