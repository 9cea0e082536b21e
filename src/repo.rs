//! Repos: what a repo says of itself, and what of it counts.
//!
//! Holds the reading of a repo's own config, of git's files and of trust, all of them bounded and
//! none of them believed further than `policy` allows. [`read`] is the whole of it; whoever tracks
//! a repo calls it at start and when one of these files changed.

pub mod explain;
pub mod file;
pub mod git;
pub mod index;
pub mod policy;
pub mod trust;

use std::sync::Arc;

use self::git::GitDir;
use self::policy::{Current, Decision, Inputs, User};
use self::trust::{Store, Subject};
use crate::runtime::rooted::Root;
use crate::watch::filter::{Filter, Tracked};

/// What a repo says of itself, as it was read.
#[derive(Debug)]
pub struct Reading {
    /// What is in force, what waits, and what to tell.
    pub decision: Decision,
    /// Its git directory; ask it where HEAD stands.
    pub git: Option<GitDir>,
    /// What git tracks.
    pub tracked: Arc<Tracked>,
}

/// Reads all that a repo says of itself. `before` is what git tracked when it was last known: it
/// stands in for an index that cannot be read just now.
pub fn read(root: &Root, user: &User, trust: &Store, before: Option<&Arc<Tracked>>) -> Reading {
    let mut troubles = Vec::new();
    let mut told = |error: &dyn std::error::Error| troubles.push(chain(error));
    let git = GitDir::find(root);
    let (subject, of_root) = (Subject::of(root, git.as_ref()), Subject::root(root));
    let current = file::read(root);
    let pinned = trust.load(&subject).inspect_err(|error| told(error)).unwrap_or_default();
    let last_good = trust.last_good(&of_root).inspect_err(|error| told(error)).unwrap_or_default();
    let inputs = Inputs { current, pinned, last_good };
    let mut decision = policy::decide(user, &inputs);
    if decision.is_good {
        let bytes = match &inputs.current {
            Current::Bytes(bytes) => Some(&**bytes),
            Current::Absent | Current::Unreadable(_) => None,
        };
        let _ = trust.keep_good(&of_root, bytes).inspect_err(|error| told(error));
    }
    let tracked = match git.as_ref().map(|git| git.tracked(root)) {
        None => Arc::default(),
        Some(Ok(tracked)) => Arc::new(tracked),
        Some(Err(error)) => {
            troubles.push(format!("read .git/index: {error}; tracked files may be ignored"));
            before.cloned().unwrap_or_default()
        }
    };
    decision.effective.filter.info_exclude =
        git.as_ref().map(|git| git.info_exclude(root)).unwrap_or_default();
    decision.add_reasons(troubles);
    Reading { decision, git, tracked }
}

impl Reading {
    /// The filter with what is in force, knowing no rule file of any directory yet.
    pub fn filter(&self) -> Filter {
        Filter::new(&self.decision.effective.filter, Arc::clone(&self.tracked))
    }

    /// Puts what is in force under the rule files that a filter knows.
    pub fn rebase(&self, filter: &mut Filter) {
        filter.rebase(&self.decision.effective.filter, Arc::clone(&self.tracked));
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
