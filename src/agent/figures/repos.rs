//! Of each repo: how it is seen, what waits, and what was done since its tracker began.

use crate::agent::roster::Roster;
use crate::agent::view::Snapshot;
use crate::model::status::{RepoState, RepoStatus};
use crate::runtime::metrics::{Counters, Gauges, Metrics, number};

pub(super) struct Repos {
    state: Gauges<2>,
    files: Gauges<1>,
    directories: Gauges<2>,
    left_out: Gauges<2>,
    pending: Gauges<1>,
    settling: Gauges<1>,
    settled: Counters<1>,
    collapsed: Counters<1>,
    overflows: Counters<1>,
    read: Counters<2>,
    read_bytes: Counters<1>,
    stamps: Counters<1>,
    seq: Gauges<1>,
}

impl Repos {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let gauges = |name, help| metrics.gauges(name, help, ["repo"]);
        let counters = |name, help| metrics.counters(name, help, ["repo"]);
        Self {
            state: metrics.gauges(
                "stampd_repo_state",
                "1 for the state that a repo is in, as `stampd status` says it.",
                ["repo", "state"],
            ),
            files: gauges("stampd_repo_files", "Files in the index."),
            directories: metrics.gauges(
                "stampd_watch_directories",
                "Directories, by whether the kernel tells of them or they are polled.",
                ["repo", "how"],
            ),
            left_out: metrics.gauges(
                "stampd_scan_left_out",
                "Entries that the last walk left out: excluded by rules, or unreadable.",
                ["repo", "reason"],
            ),
            pending: gauges(
                "stampd_repo_pending_paths",
                "Paths that were noticed and are not durable yet: the backlog.",
            ),
            settling: gauges("stampd_settle_paths", "Those of them that wait to be quiet."),
            settled: counters(
                "stampd_settle_settled_total",
                "Paths that had become quiet, or had waited too long.",
            ),
            collapsed: counters(
                "stampd_settle_collapsed_total",
                "Times that a directory, or the root, stood for more paths than may wait.",
            ),
            overflows: counters(
                "stampd_watch_overflows_total",
                "Times that the kernel dropped events; everything is compared then.",
            ),
            read: metrics.counters(
                "stampd_hash_files_total",
                "Files that were looked at: hashed, unstable, or skipped for a reason of their own.",
                ["repo", "outcome"],
            ),
            read_bytes: counters("stampd_hash_bytes_total", "Bytes of the files that were hashed."),
            stamps: counters(
                "stampd_spool_stamps_total",
                "Stamps in all streams, since the spool was made.",
            ),
            seq: gauges("stampd_spool_seq", "Seq of the newest stamp of the repo's stream."),
        }
    }

    /// Forgets the series of all repos.
    pub(super) fn clear(&self) {
        let Self { state, directories, left_out, files, pending, settling, seq, .. } = self;
        for gauges in [state, directories, left_out] {
            gauges.clear();
        }
        for gauges in [files, pending, settling, seq] {
            gauges.clear();
        }
        let Self { settled, collapsed, overflows, read_bytes, stamps, .. } = self;
        for counters in [settled, collapsed, overflows, read_bytes, stamps] {
            counters.clear();
        }
        self.read.clear();
    }

    pub(super) fn set(&self, statuses: &[RepoStatus], roster: &Roster) {
        for status in statuses {
            self.set_seen(status);
        }
        for tracked in roster.tracked() {
            self.set_done(&tracked.config.name, &tracked.view.snapshot());
        }
    }

    /// The newest stream of a repo holds so many stamps.
    pub(super) fn reached(&self, repo: &str, size: u64) {
        if let Some(seq) = size.checked_sub(1) {
            self.seq.of([repo]).set(number(seq));
        }
    }

    fn set_seen(&self, status: &RepoStatus) {
        let (repo, coverage) = (status.name.as_str(), &status.coverage);
        for state in RepoState::ALL {
            self.state.of([repo, state.as_str()]).set(f64::from(state == status.state));
        }
        self.files.of([repo]).set(number(status.files));
        self.pending.of([repo]).set(number(status.pending));
        self.stamps.of([repo]).inc_by(status.stamps);
        self.directories.of([repo, "watched"]).set(number(coverage.directories_watched));
        self.directories.of([repo, "polled"]).set(number(coverage.directories_polled));
        self.left_out.of([repo, "excluded"]).set(number(coverage.excluded));
        self.left_out.of([repo, "unreadable"]).set(number(coverage.unreadable));
    }

    fn set_done(&self, repo: &str, shown: &Snapshot) {
        let tally = &shown.tally;
        self.settling.of([repo]).set(number(shown.settling));
        self.settled.of([repo]).inc_by(tally.settled);
        self.collapsed.of([repo]).inc_by(tally.collapsed);
        self.overflows.of([repo]).inc_by(tally.overflows);
        self.read.of([repo, "hashed"]).inc_by(tally.hashed);
        self.read.of([repo, "unstable"]).inc_by(tally.unstable);
        self.read.of([repo, "skipped"]).inc_by(tally.skipped);
        self.read_bytes.of([repo]).inc_by(tally.hashed_bytes);
    }
}
