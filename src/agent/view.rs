//! What the agent shows of a repo: written by its tracker, read by whoever asks for status.

use std::sync::Arc;

use tokio::sync::watch;

use crate::model::change::{Observation, What};
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
    /// Paths that are waiting to be quiet.
    pub settling: u64,
    /// What was done so far.
    pub tally: Tally,
}

/// What a tracker has done since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Paths that had become quiet, or had waited too long.
    pub settled: u64,
    /// Times that a directory, or the root, had to stand for all that waited in it.
    pub collapsed: u64,
    /// Times that the kernel dropped events.
    pub overflows: u64,
    /// Versions of files that were hashed.
    pub hashed: u64,
    /// Their bytes.
    pub hashed_bytes: u64,
    /// Files that kept changing while they were read.
    pub unstable: u64,
    /// Paths that were not read, for a reason of their own.
    pub skipped: u64,
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
            settling: 0,
            tally: Tally::default(),
        })))
    }
}

impl Tally {
    /// Counts what was seen.
    pub(super) fn observed(&mut self, observations: &[Observation]) {
        for observation in observations {
            match &observation.what {
                What::File { stat, .. } => {
                    self.hashed += 1;
                    self.hashed_bytes += stat.size;
                }
                What::Unstable { .. } => self.unstable += 1,
                What::Skipped { .. } => self.skipped += 1,
                What::Symlink { .. } | What::Gone => {}
            }
        }
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
