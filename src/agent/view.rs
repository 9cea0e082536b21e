//! What the agent shows of a repo: written by its tracker, read by whoever asks for status.

use std::sync::Arc;

use tokio::sync::watch;

use crate::model::status::{Coverage, RepoState};

/// A repo as it stands now. Clones show the same repo.
#[derive(Clone, Debug)]
pub struct View(Arc<watch::Sender<Snapshot>>);

/// One consistent look at a repo.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Whether it is seen.
    pub state: RepoState,
    /// Why not, and what to do.
    pub reason: Option<String>,
    /// Paths seen but not yet durable.
    pub pending: u64,
    /// The path that is read next, where one waits.
    pub at: Option<String>,
    /// Files in the index.
    pub files: u64,
    /// How much of it is seen.
    pub coverage: Coverage,
    /// Whether the first comparison with the disk has ended, or the root was not there to compare.
    pub compared: bool,
}

impl Default for View {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Snapshot {
            state: RepoState::Starting,
            reason: None,
            pending: 0,
            at: None,
            files: 0,
            coverage: Coverage::default(),
            compared: false,
        })))
    }
}

impl View {
    /// What stands there now.
    pub fn snapshot(&self) -> Snapshot {
        self.0.borrow().clone()
    }

    /// Replaces what stands there; whoever waits is woken only if it is something else.
    pub(super) fn show(&self, snapshot: Snapshot) {
        self.0.send_if_modified(|shown| {
            let differs = *shown != snapshot;
            *shown = snapshot;
            differs
        });
    }

    /// Returns once the first comparison with the disk has ended.
    pub(super) async fn compared(&self) {
        let mut shown = self.0.subscribe();
        shown.wait_for(|shown| shown.compared).await.expect("this view holds the sender");
    }
}
