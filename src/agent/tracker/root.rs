//! The root: found, lost and found again. A root that is not there is a state, never a mass delete.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::Tracker;
use crate::agent::coverage::Cause;
use crate::agent::view::Snapshot;
use crate::model::path::RepoPath;
use crate::model::stamp::{Detail, Kind};
use crate::model::status::{Coverage, RepoState};
use crate::runtime::chance::random;
use crate::runtime::rooted::{Presence, Root};
use crate::watch::filter::Filter;
use crate::watch::{ArmTarget, Armed, RootHint, Watch, limit};

/// What there is while the root is there.
pub(super) struct Sight {
    /// The root, by descriptor.
    pub(super) root: Arc<Root>,
    /// The device it is on now.
    pub(super) dev: u64,
    /// Its watches.
    pub(super) watch: Watch,
    /// Its exclusion rules, as the last walk found them.
    pub(super) filter: Filter,
}

impl Sight {
    /// Arms directories that are open. Those that the kernel has no watch left for are given back.
    ///
    /// One that is armed already is left alone unless `anew`: to arm it costs as much as to compare
    /// it, and its watch is lost only together with an event that says so.
    pub(super) fn arm(
        watch: &Watch,
        targets: &[(&RepoPath, &OwnedFd)],
        anew: bool,
    ) -> Vec<RepoPath> {
        let targets: Vec<ArmTarget<'_>> = targets
            .iter()
            .filter(|(path, _)| anew || !watch.holds(path))
            .map(|(path, fd)| ArmTarget { path: (*path).clone(), fd: fd.as_fd() })
            .collect();
        let verdicts = watch.arm(&targets);
        let mut refused = Vec::new();
        for (target, verdict) in targets.into_iter().zip(verdicts) {
            match verdict {
                Armed::LimitReached => refused.push(target.path),
                Armed::Failed(error) => {
                    tracing::warn!(path = %target.path, %error, "directory polled: cannot be armed");
                    refused.push(target.path);
                }
                // A move has left a hint; our own directories are nobody's.
                Armed::Yes | Armed::Moved | Armed::Excluded => {}
            }
        }
        refused
    }
}

impl Tracker {
    /// Looks for the root and, if it is there, begins to watch and compares everything.
    pub(super) fn find_root(&mut self) {
        self.walks.root_checked();
        match Root::open(&self.parts.config.path) {
            Ok(root) => self.open_sight(root),
            Err(error) => {
                let path = &self.parts.config.path;
                let reason = format!("{}: {}", path.display(), why_absent(path, &error));
                self.lose_root(reason);
            }
        }
    }

    /// While there is no root: looks for it when it is time to.
    pub(super) fn look_for_root(&mut self) {
        if self.parts.paused {
            return;
        }
        let hinted = self.lost.as_ref().is_some_and(|watch| watch.take().root.is_some());
        if hinted || self.walks.root_check_due() <= Instant::now() {
            self.find_root();
        }
    }

    fn open_sight(&mut self, root: Root) {
        let root = Arc::new(root);
        let opened = Watch::open(
            &self.parts.watch,
            Arc::clone(&root),
            &self.parts.left_out,
            self.parts.clock.clone(),
            self.inbox.waker(),
        );
        let watch = match opened {
            Ok(watch) => watch,
            Err(error) => {
                self.lose_root(format!("failed to {error}"));
                return;
            }
        };
        #[cfg(test)]
        if let Some(prepare) = self.parts.on_watch {
            prepare(&watch);
        }
        self.lost = None;
        let dev = match root.stat(b"") {
            Ok(stat) => stat.dev,
            Err(error) => {
                let reason = why_absent(&self.parts.config.path, &error);
                self.lose_root(reason);
                return;
            }
        };
        self.sight = Some(Sight { root, dev, watch, filter: Filter::default() });
        // Whatever the rules were before: everything is compared next.
        self.read_repo();
        let until = self.parts.clock.now();
        let restored = self.gaps.close(Cause::Root, until);
        self.append_gap(restored);
        let waiters = std::mem::take(&mut self.waiting);
        self.walks.compare_all(waiters);
    }

    /// What the watch noticed of the root itself, or of the way to it.
    pub(super) fn root_hinted(&mut self, hint: RootHint) {
        let Some(sight) = &self.sight else { return };
        let presence = sight.root.presence();
        tracing::debug!(repo = self.parts.config.name, ?hint, ?presence, "root looked at");
        if presence != Presence::Same {
            self.renew_root(presence);
        }
    }

    /// Lets go of a root that is not what it was, and looks for what is there now.
    pub(super) fn renew_root(&mut self, presence: Presence) {
        self.lose_root(format!("{}: {presence}", self.parts.config.path.display()));
        self.find_root();
    }

    /// Lets go of a root that is not there any more. The index keeps what it knows.
    pub(super) fn lose_root(&mut self, reason: String) {
        // The watch lives on: it also watches the place where the root is expected.
        self.lost = self.sight.take().map(|sight| sight.watch).or(self.lost.take());
        self.queue.clear();
        let waiters = self.walks.clear();
        self.gaps.repair_dropped(Instant::now());
        self.waiting.extend(waiters);
        let opened = self.gaps.open(Cause::Root, self.parts.clock.now(), reason);
        self.append_gap(opened);
    }

    /// Records that a gap opened or closed.
    pub(super) fn append_gap(&mut self, detail: Option<Detail>) {
        if let Some(detail) = detail {
            self.append_life(Kind::Coverage, detail);
        }
    }

    /// Notes that a repair ended.
    pub(super) fn repair_ended(&mut self) {
        if self.gaps.repair_ended(Instant::now(), random()) {
            let closed = self.gaps.close(Cause::Overflow, self.parts.clock.now());
            self.append_gap(closed);
        }
    }

    /// Opens or closes the gap of directories that could not be watched.
    pub(super) fn note_watch_limit(&mut self) {
        let now = self.parts.clock.now();
        let watched = self.sight.as_ref().map_or(0, |sight| sight.watch.counts().directories);
        let needs = watched as u64 + self.walks.polled.len() as u64;
        let detail = if self.walks.polled.is_empty() {
            self.gaps.close(Cause::WatchLimit, now)
        } else {
            let reason = limit::report(needs).to_string();
            self.gaps.open(Cause::WatchLimit, now, reason)
        };
        self.append_gap(detail);
    }

    /// Shows where this repo stands.
    pub(super) fn show(&self) {
        let (state, reason) = self.gaps.state();
        let compared = self.compared || self.parts.paused || state == RepoState::Absent;
        let state = if compared { state } else { RepoState::Starting };
        let counts = self.sight.as_ref().map(|sight| sight.watch.counts()).unwrap_or_default();
        let pending = self.settle.len() + self.queue.len() + self.lane.len() + self.retries.len();
        self.parts.view.show(Snapshot {
            state,
            reason: reason.or_else(|| self.repo_file_reason.clone()),
            pending: pending as u64 + self.unconfirmed,
            at: self.queue.front().map(|next| next.path.to_lossy().into_owned()),
            files: self.parts.repo.known().len() as u64,
            coverage: Coverage {
                directories_watched: counts.directories as u64,
                directories_polled: self.walks.polled.len() as u64,
                excluded: self.walks.totals.excluded,
                unreadable: self.walks.totals.unreadable,
            },
            compared,
            settling: self.settle.len() as u64,
            tally: self.tally,
        });
    }
}

/// Why a root cannot be opened, and what to do.
fn why_absent(path: &Path, error: &io::Error) -> String {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match error.kind() {
        NotFound => "there is no such directory; it is watched for".to_owned(),
        // A link is not followed: whoever can set it could have another tree stamped in this repo's
        // name.
        NotADirectory if let Ok(target) = std::fs::read_link(path) => {
            format!("is a symbolic link to {}; name the directory itself", target.display())
        }
        NotADirectory => "is not a directory; name the directory of the repo".to_owned(),
        PermissionDenied => "permission denied; give the agent's user read access".to_owned(),
        _ => error.to_string(),
    }
}
