//! The tracker: one thread per repo that finds out what changed and hands it to the spool.
//!
//! It takes hints from the watch, lets paths settle, walks what must be compared, and examines what
//! differs. It is the only one that appends for its repo, so two observations of a path reach the
//! spool in the order in which they were made. It never blocks on a large file: those are read
//! beside it, one path in at most one place.

mod due;
mod hints;
mod inbox;
mod lane;
mod moved;
mod pause;
mod retry;
mod root;
mod rules;
mod walks;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::inbox::Inbox;
pub(super) use self::inbox::{Command, Mailbox};
use self::lane::Lane;
use self::retry::Retries;
use self::root::Sight;
use self::walks::Walks;
use super::RepoConfig;
use super::coverage::{Cause, Gaps};
use super::view::{Tally, View};
use crate::hash::Hasher;
use crate::model::stamp::{Detail, Git, Kind};
use crate::repo::git::{GitDir, IndexLook};
use crate::repo::policy::{Effective, User};
use crate::repo::trust::Store;
use crate::runtime::clock::Clock;
use crate::runtime::rooted::{Presence, Root};
use crate::scan::examine::{Candidate, Reading};
use crate::settle::Settle;
use crate::spool::{Appended, Reader, Receipt, Repo, SpoolError};
use crate::watch::{self, filter::Tracked};

/// How often a full spool is tried again.
const ROOM_CHECK_EVERY: Duration = Duration::from_mins(1);

/// How long a stop goes on hashing what was already found.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// What a tracker is made of.
pub(super) struct Parts {
    /// The repo, as the user's config has it.
    pub(super) config: RepoConfig,
    /// What the user allows the repo's own config.
    pub(super) user: User,
    /// How it is watched.
    pub(super) watch: watch::Config,
    /// Where its stamps go.
    pub(super) repo: Repo,
    /// Where the index is read.
    pub(super) reader: Reader,
    /// What reads files, with its threads; shared by all repos.
    pub(super) hasher: Hasher,
    /// The time of day.
    pub(super) clock: Clock,
    /// Where its state is shown.
    pub(super) view: View,
    /// What a person has trusted.
    pub(super) trust: Store,
    /// Absolute paths that are left out: our own directories, other configured repos.
    pub(super) left_out: Vec<std::path::PathBuf>,
    /// What a test does to the watch before anything is armed.
    #[cfg(test)]
    pub(super) on_watch: Option<fn(&watch::Watch)>,
    /// Whether nothing is looked at, from the beginning or until told otherwise.
    pub(super) paused: bool,
    /// Set when the tracker ends: reads in progress give up at their next window.
    pub(super) stop: Arc<AtomicBool>,
}

impl Parts {
    /// What files below `root` are read with.
    fn reading<'a>(&'a self, root: &'a Root) -> Reading<'a> {
        Reading { root, hasher: &self.hasher, stop: &self.stop }
    }
}

/// Where git stood when it was last looked at.
#[derive(Default)]
struct Standing {
    dir: Option<GitDir>,
    index: Option<IndexLook>,
    tracked: Arc<Tracked>,
    context: Option<Git>,
}

/// Someone who waits for a comparison with the disk to be durable.
type Waiter = oneshot::Sender<()>;

/// The tracker of one repo.
pub(super) struct Tracker {
    parts: Parts,
    inbox: Inbox,
    /// The root and its watches, while the root is there.
    sight: Option<Sight>,
    effective: Effective,
    git: Standing,
    settle: Settle,
    walks: Walks,
    /// Differences to be examined, in the order they were found.
    queue: std::collections::VecDeque<Candidate>,
    lane: Lane,
    retries: Retries,
    gaps: Gaps,
    /// Receipts of what was appended and is not known to be durable yet.
    receipts: Vec<Receipt<Appended>>,
    /// How many observations they stand for.
    unconfirmed: u64,
    /// What was done so far.
    tally: Tally,
    /// What stood in the root's place when a batch said that paths were gone.
    root_went: Option<Presence>,
    /// The watch of a root that is gone: it also watches the place where the root is expected.
    lost: Option<watch::Watch>,
    /// What is wrong with the repo's own config.
    repo_file_reason: Option<String>,
    stopping: bool,
    /// Whether everything has been compared with the disk once since the start.
    compared: bool,
    /// Whether a walk of everything has ended and what it found is not durable yet.
    ending: bool,
    /// Whose walk has ended, and who now wait for what it found to be durable.
    waiting: Vec<Waiter>,
}

impl Tracker {
    /// Makes a tracker and the mailbox through which it is spoken to.
    pub(super) fn new(parts: Parts) -> (Self, Mailbox) {
        let (inbox, mailbox) = inbox::pair();
        let effective = Effective::of_user(&parts.user);
        let tracker = Self {
            settle: Settle::new(effective.settle.clone()),
            effective,
            git: Standing::default(),
            inbox,
            sight: None,
            walks: Walks::new(parts.watch.audit_every, parts.repo.previous_commit()),
            queue: std::collections::VecDeque::new(),
            lane: Lane::new(),
            retries: Retries::default(),
            gaps: Gaps::default(),
            receipts: Vec::new(),
            unconfirmed: 0,
            tally: Tally::default(),
            root_went: None,
            lost: None,
            repo_file_reason: None,
            stopping: false,
            compared: false,
            ending: false,
            waiting: Vec::new(),
            parts,
        };
        (tracker, mailbox)
    }

    /// Tracks until the mailbox is closed or told to stop, then flushes and takes leave.
    ///
    /// # Errors
    /// When the spool fails: nothing can be made durable, so the agent must end and start again.
    pub(super) fn run(mut self) -> Result<(), SpoolError> {
        self.begin();
        loop {
            self.take_messages()?;
            // A stop must not wait for the next hint or deadline.
            if self.stopping {
                return self.end();
            }
            self.take_hints()?;
            self.examine_due()?;
            self.show();
            if self.advance()? || self.root_went.is_some() {
                continue;
            }
            self.rest()?;
        }
    }

    fn begin(&mut self) {
        let since = self.parts.repo.previous_commit();
        let detail = Detail { since, ..Detail::default() };
        self.append_life(Kind::Started, detail);
        if self.parts.paused { self.pause() } else { self.find_root() }
    }

    /// Nothing is left to do at once: makes everything durable, answers who waits, and sleeps until
    /// a message, a hint or the next deadline.
    fn rest(&mut self) -> Result<(), SpoolError> {
        self.await_durable()?;
        let is_settled = self.lane.is_empty() && !self.retries.any_soon();
        self.compared |= is_settled && std::mem::take(&mut self.ending);
        // Before those who wait, who may look at once.
        self.show();
        if is_settled {
            for waiter in self.waiting.drain(..) {
                // Whoever gave up waiting no longer needs to know.
                let _ = waiter.send(());
            }
        }
        let deadline = self.next_deadline();
        self.inbox.wait(self.lane.finished(), deadline);
        Ok(())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let walk = match self.sight {
            Some(_) => self.walks.next_deadline(self.gaps.repair_due()),
            None if self.parts.paused => None,
            // Without a root nothing is walked, whatever is due.
            None => Some(self.walks.root_check_due()),
        };
        [self.settle.next_deadline(), self.retries.next_deadline(), walk]
            .into_iter()
            .flatten()
            .min()
    }

    /// Waits until everything appended so far is durable. What a full spool refused still differs
    /// from the index: it is found again by the comparison that is due when there may be room.
    fn await_durable(&mut self) -> Result<(), SpoolError> {
        self.unconfirmed = 0;
        let mut refusal = None;
        for receipt in std::mem::take(&mut self.receipts) {
            match receipt.wait() {
                Ok(_) => {}
                Err(full @ SpoolError::Full { .. }) => refusal = Some(full),
                Err(error) => return Err(error),
            }
        }
        self.note_room(refusal.as_ref());
        Ok(())
    }

    /// A full spool is a gap in what is recorded. It cannot be recorded itself.
    fn note_room(&mut self, refusal: Option<&SpoolError>) {
        let now = self.parts.clock.now();
        match refusal {
            Some(full) => {
                self.gaps.open(Cause::SpoolFull, now, full.to_string());
                self.gaps.repair_in(Instant::now(), ROOM_CHECK_EVERY);
            }
            None => drop(self.gaps.close(Cause::SpoolFull, now)),
        }
    }

    /// Stops in order: no more hints, what was settling is examined as it is now, and the stream
    /// records that it ended on purpose. What there is no time for still differs from the index and
    /// is found at the next start.
    fn end(mut self) -> Result<(), SpoolError> {
        let begun = Instant::now();
        self.examine_settled(begun + self.parts.watch.settle.settle_max)?;
        while begun.elapsed() < FLUSH_MAX && self.examine_next() {}
        self.parts.stop.store(true, Ordering::Relaxed);
        self.sight = None;
        self.append_life(Kind::Stopped, Detail::default());
        let outcome = self.await_durable();
        // Nobody waits for the first comparison of a repo that is tracked no longer.
        self.compared = true;
        self.show();
        outcome
    }
}
