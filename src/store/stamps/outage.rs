//! Whether the database is away, as the writers of a desk found it: each tells the others, so that an
//! outage is waited out once, and said once. Whoever publishes is told when it ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::error::StoreError;
use crate::store::outbox::Tray;

/// How soon after a failure to connect the next attempt is made.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// What is known of the road to the database.
#[derive(Default)]
pub(super) struct Outage {
    /// The last failure to connect, until a connection is made.
    failure: Mutex<Option<(Instant, Arc<StoreError>)>>,
    outbox: Option<Arc<Tray>>,
}

impl Outage {
    /// Nothing is known yet. The end of an outage is told at `outbox`.
    pub(super) fn new(outbox: Option<Arc<Tray>>) -> Self {
        Self { outbox, ..Self::default() }
    }

    /// The failure that answers instead of an attempt: one was just made.
    pub(super) fn recent(&self) -> Option<Arc<StoreError>> {
        let state = self.state();
        let (at, error) = state.as_ref()?;
        (at.elapsed() < RETRY_AFTER).then(|| Arc::clone(error))
    }

    /// Notes a failure to connect.
    pub(super) fn goes_on(&self, error: &Arc<StoreError>) {
        if self.state().replace((Instant::now(), Arc::clone(error))).is_none() {
            tracing::warn!(%error, "Postgres is away; stamping requests are refused");
        }
    }

    /// Notes a connection.
    pub(super) fn ends(&self) {
        if self.state().take().is_some() {
            tracing::info!("Postgres is back");
            if let Some(outbox) = &self.outbox {
                outbox.tell_return();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, Option<(Instant, Arc<StoreError>)>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
