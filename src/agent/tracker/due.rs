//! What has settled: looks at every due path once and decides whether it is gone, a directory to
//! walk, unchanged, or a difference to examine.

use std::io;
use std::time::Instant;

use rayon::prelude::*;
use rustc_hash::FxHashSet;

use super::Tracker;
use crate::model::change::{Observation, Row, What};
use crate::model::path::RepoPath;
use crate::model::stamp::SkipReason;
use crate::repo::policy::FILE_NAME;
use crate::runtime::rooted::{self, FileKind, Stat};
use crate::runtime::time::Timestamp;
use crate::scan::examine::{Candidate, Gone};
use crate::settle::Due;
use crate::spool::{Look, SpoolError};
use crate::watch::filter;

/// A path with the time of its first hint.
pub(super) type Hinted = (RepoPath, Timestamp);

/// Due paths by what they turned out to be.
#[derive(Default)]
struct Sorted {
    gone: Vec<Hinted>,
    /// Paths that the index has as a file or a link, and the disk as a directory.
    replaced: Vec<Hinted>,
    candidates: Vec<Candidate>,
    directories: Vec<RepoPath>,
    /// Paths that have a row and are now covered by a rule.
    ignored: Vec<Observation>,
    /// Paths of rule files that changed, or went.
    rules: Vec<RepoPath>,
    /// Inodes with several names that were written through one of them.
    linked: Vec<u64>,
}

impl Tracker {
    /// Examines what has settled and what is to be tried again.
    pub(super) fn examine_due(&mut self) -> Result<(), SpoolError> {
        let now = Instant::now();
        self.examine_settled(now)
    }

    /// Examines what will have settled at `now`, which may lie ahead.
    pub(super) fn examine_settled(&mut self, now: Instant) -> Result<(), SpoolError> {
        let Due { mut paths, dirs, everything } = self.settle.due(now);
        self.tally.settled += paths.len() as u64;
        self.tally.collapsed += dirs.len() as u64 + u64::from(everything.is_some());
        self.walks.add_subtrees(dirs.into_iter().map(|(path, _)| path));
        self.walks.add_subtrees(everything.map(|_| RepoPath::root()));
        paths.extend(
            self.retries.due(now).into_iter().map(|candidate| (candidate.path, candidate.seen)),
        );
        self.examine_paths(paths)
    }

    /// Looks at each path and examines those that differ from the index.
    pub(super) fn examine_paths(&mut self, paths: Vec<Hinted>) -> Result<(), SpoolError> {
        if paths.is_empty() || self.sight.is_none() {
            return Ok(());
        }
        self.follow_git()?;
        let mut sorted = self.sort(paths);
        self.add_links(&mut sorted);
        self.walks.add_subtrees(sorted.directories);
        self.append(sorted.ignored);
        if sorted.gone.is_empty() && sorted.replaced.is_empty() {
            self.queue.extend(sorted.candidates);
        } else {
            self.examine_with_gone(sorted.gone, sorted.replaced, sorted.candidates)?;
        }
        self.apply_rule_files(sorted.rules)
    }

    fn sort(&self, paths: Vec<Hinted>) -> Sorted {
        let Some(sight) = &self.sight else { return Sorted::default() };
        let looks: Vec<io::Result<Stat>> = self.parts.hasher.pool().install(|| {
            paths.par_iter().map(|(path, _)| sight.root.stat(path.as_bytes())).collect()
        });
        let mut sorted = Sorted::default();
        for ((path, seen), look) in paths.into_iter().zip(looks) {
            if filter::is_rule_file(&path) || path.as_bytes() == FILE_NAME.as_bytes() {
                sorted.rules.push(path.clone());
            }
            match look {
                Ok(stat) if stat.kind == FileKind::Dir => {
                    let known = self.parts.repo.known().check(&path, &stat) != Look::New;
                    sorted.replaced.extend(known.then(|| (path.clone(), seen)));
                    sorted.directories.push(path);
                }
                Ok(stat) if !sight.filter.ignored(&path, false).is_visible() => {
                    sorted.ignored.extend(self.newly_ignored(path, seen, stat));
                }
                Ok(stat) => self.compare(path, seen, stat, &mut sorted),
                Err(error) if rooted::is_absent(&error) => sorted.gone.push((path, seen)),
                // It is there and we cannot see it: examining it says so.
                Err(_) => sorted.candidates.push(Candidate { path, seen, stat: None, held: true }),
            }
        }
        sorted
    }

    /// What is to be said of a path that a rule covers: nothing, unless the index has it.
    fn newly_ignored(&self, path: RepoPath, seen: Timestamp, stat: Stat) -> Option<Observation> {
        let known = self.parts.repo.known().check(&path, &stat) != Look::New;
        let what = What::Skipped { stat: Some(stat), reason: SkipReason::Ignored };
        known.then_some(Observation { path, seen, what })
    }

    fn compare(&self, path: RepoPath, seen: Timestamp, stat: Stat, sorted: &mut Sorted) {
        if self.parts.repo.known().check(&path, &stat) == Look::Same {
            return;
        }
        if stat.nlink > 1 {
            sorted.linked.push(stat.ino);
        }
        sorted.candidates.push(Candidate { path, seen, stat: Some(stat), held: false });
    }

    /// A write through one name of a file raises no event for its other names.
    fn add_links(&self, sorted: &mut Sorted) {
        if sorted.linked.is_empty() {
            return;
        }
        let seen = self.parts.clock.now();
        let mut present: FxHashSet<RepoPath> =
            sorted.candidates.iter().map(|candidate| candidate.path.clone()).collect();
        for path in sorted.linked.iter().flat_map(|&ino| self.parts.repo.known().links(ino)) {
            if present.insert(path.clone()) {
                sorted.candidates.push(Candidate { path, seen, stat: None, held: true });
            }
        }
    }

    /// Examines a batch in which paths went: those are looked up in the index first.
    fn examine_with_gone(
        &mut self,
        gone: Vec<Hinted>,
        replaced: Vec<Hinted>,
        mut candidates: Vec<Candidate>,
    ) -> Result<(), SpoolError> {
        let mut gone = self.rows_of(gone)?;
        gone.extend(self.own_rows(replaced)?);
        if gone.is_empty() {
            self.queue.extend(candidates);
            return Ok(());
        }
        self.mark_held(&mut candidates)?;
        self.examine_moves(gone, candidates);
        Ok(())
    }

    /// The rows of paths that went, and of everything below them.
    ///
    /// The index is read only after all that was appended is durable: a file that was made and
    /// removed in quick succession would otherwise be missed here and stay in the index.
    pub(super) fn rows_of(&mut self, gone: Vec<Hinted>) -> Result<Vec<Gone>, SpoolError> {
        self.await_durable()?;
        let tops: FxHashSet<RepoPath> = gone.iter().map(|(path, _)| path.clone()).collect();
        let mut rows = Vec::new();
        for (path, seen) in gone {
            if path.ancestors().any(|up| tops.contains(&up)) {
                continue;
            }
            self.retries.settled(&path);
            let within = self.parts.reader.rows_within(self.parts.repo.id(), &path)?;
            rows.extend(within.into_iter().map(|(path, row)| Gone { path, row, seen }));
        }
        Ok(rows)
    }

    /// The rows of paths that are directories now, without what lies below: that is there.
    fn own_rows(&self, replaced: Vec<Hinted>) -> Result<Vec<Gone>, SpoolError> {
        let mut rows = Vec::new();
        for (path, seen) in replaced {
            let row = self.parts.reader.row(self.parts.repo.id(), &path)?;
            rows.extend(row.filter(Row::is_present).map(|row| Gone { path, row, seen }));
        }
        Ok(rows)
    }

    /// Marks the candidates that the index already has under their path with their inode.
    pub(super) fn mark_held(&self, candidates: &mut [Candidate]) -> Result<(), SpoolError> {
        let Some(sight) = &self.sight else { return Ok(()) };
        for candidate in candidates {
            let row = self.parts.reader.row(self.parts.repo.id(), &candidate.path)?;
            let stat = candidate.stat.or_else(|| sight.root.stat(candidate.path.as_bytes()).ok());
            candidate.held = match (row.and_then(|row| row.mark), stat) {
                (Some(mark), Some(stat)) => mark.ino == stat.ino,
                _ => false,
            };
        }
        Ok(())
    }
}
