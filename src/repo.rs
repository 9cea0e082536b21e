//! Repos: what a repo says of itself, and what of it counts.
//!
//! Holds the reading of a repo's own config, of git's files and of trust, all of them bounded and
//! none of them believed further than `policy` allows. [`read`] is the whole of it: the
//! agent calls it at start and when one of these files changed, tools call [`look`].

pub mod explain;
pub mod file;
pub mod git;
pub mod index;
pub mod policy;
pub mod trust;

use std::sync::Arc;

use self::git::GitDir;
use self::policy::{Current, Decision, Inputs, User};
use self::trust::{Store, Subject, TrustError};
use crate::runtime::chain::chain;
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
    /// The repo's own config, as it is now.
    pub current: Current,
}

/// Reads all that a repo says of itself, and keeps a valid `.stampd.toml` as the last good one, as
/// only the agent does. `before` is what git tracked when it was last known: it stands in for an
/// index that cannot be read just now.
pub fn read(root: &Root, user: &User, trust: &Store, before: Option<&Arc<Tracked>>) -> Reading {
    let mut reading = look(root, user, trust, before);
    if reading.decision.is_good
        && let Err(error) = trust.keep_good(&Subject::root(root), reading.current.bytes())
    {
        reading.decision.add_reasons(vec![chain(&error)]);
    }
    reading
}

/// Reads all that a repo says of itself and leaves nothing behind.
pub fn look(root: &Root, user: &User, trust: &Store, before: Option<&Arc<Tracked>>) -> Reading {
    let git = GitDir::find(root);
    let subject = Subject::of(root, git.as_ref());
    let (pinned, unpinned) = split(trust.load(&subject));
    let (last_good, lost) = split(trust.last_good(&Subject::root(root)));
    let inputs = Inputs { current: file::read(root), pinned, last_good };
    let mut decision = policy::decide(user, &inputs);
    let (tracked, untold) = match git.as_ref().map(|git| git.tracked(root)) {
        None => (Arc::default(), None),
        Some(Ok(tracked)) => (Arc::new(tracked), None),
        Some(Err(error)) => {
            let text = format!("read .git/index: {error}; tracked files may count as ignored");
            (before.cloned().unwrap_or_default(), Some(text))
        }
    };
    decision.effective.filter.info_exclude =
        git.as_ref().map(|git| git.info_exclude(root)).unwrap_or_default();
    decision.add_reasons([unpinned, lost, untold].into_iter().flatten().collect());
    Reading { decision, git, tracked, current: inputs.current }
}

/// What was kept, or the reason it cannot be had.
fn split(kept: Result<Option<Vec<u8>>, TrustError>) -> (Option<Vec<u8>>, Option<String>) {
    match kept {
        Ok(kept) => (kept, None),
        Err(error) => (None, Some(chain(&error))),
    }
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
